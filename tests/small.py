"""Arguments of the smallest MBT that has all its parts; tests replace what they are about."""

SMALL_MBT = dict(
    heads={"label": 3},
    video_shape=(4, 16, 16),
    audio_shape=(32, 16),
    width=8,
    num_heads=2,
    depth=2,
    fusion_layer=1,
    video_patch=(1, 8, 8),
    audio_patch=(8, 8),
)
