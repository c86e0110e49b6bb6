"""Fusion strategies (paper MBT, section 3.2): one file each, listed in `registry.FUSIONS`.

A strategy routes the tokens of each stream through the blocks it is given:

    fusion(tokens, blocks, *, present, key_mask, maps) -> (tokens, attention)

    tokens    {modality: (B, N, D)}, in order of fusion
    blocks    {modality: the transformer layers above the fusion layer}
    present   {modality: (B,) bool} or None: which examples have the stream
    key_mask  {modality: (B, N) bool} or None: false where a token is padding
    attention one {name: (B, h, N, J)} per layer, empty unless `maps`

`one_stack` says whether all modalities must be given the same layers. The constructor takes, by
keyword, what it needs of `modalities, width, bottleneck_tokens, update, update_order`.
"""
