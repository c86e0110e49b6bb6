"""Properties are tried on the same drawn inputs in every run, as many as a second allows."""

from hypothesis import Phase, settings

settings.register_profile(
    "same_every_run",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # explaining takes minutes
)
settings.load_profile("same_every_run")
