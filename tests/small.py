"""Arguments of the smallest MBT that has all its parts; tests replace what they are about.

And model and front end of a run that trains in a second.
"""

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

RUN_MODEL = {
    "name": "mbt",
    "width": 16,
    "depth": 2,
    "num_heads": 2,
    "mlp_width": 32,
    "fusion_layer": 1,
    "video_patch": [1, 16, 16],
    "audio_patch": [20, 16],
}
RUN_FRONT_END = {
    "name": "mbt",
    "audio": {"num_frames": 200, "num_mels": 64},
    "video": {"num_frames": 2, "window_seconds": 2.0, "height": 32, "width": 32, "short_side": 32},
}
