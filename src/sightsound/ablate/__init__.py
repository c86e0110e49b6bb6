"""The ablations of the MBT paper, and comparisons of one's own, as one command.

studies    what is varied: a table of studies and their axes
plan       from a study to cells: checked configurations with their size and work
cells      one cell with one seed: trained, scored, its result kept
ablation   all cells in turn, resumable, with everything rewritten after each
report     the tables: mean and deviation over seeds
figure     the figure in the paper's form
"""
