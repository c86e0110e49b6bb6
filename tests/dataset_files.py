"""Official annotation files in small, each in its exact layout, with empty files for clips."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet


@dataclass
class Case:
    """What `sightsound manifest` is given, and what must come out."""

    paths: list[Path]
    media: Path
    found: list[str]  # ids
    missing: list[str]
    options: dict[str, Any] = field(default_factory=dict)


def put(folder: Path, name: str, text: str) -> Path:
    """A text file, written byte for byte."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def touch(folder: Path, *names: str) -> Path:
    """Empty files; the folder itself."""
    for name in names:
        put(folder, name, "")
    return folder


EVAL_CSV = """# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=4
# YTID, start_seconds, end_seconds, positive_labels
-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"
-0BIyqJj9ZU, 30.000, 40.000, "/m/07rgt08,/m/07sq110,/t/dd00001"
"""
BALANCED_CSV = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
--ZhevVpy1s, 50.000, 60.000, "/m/012xff"
"""


def audioset(folder: Path) -> Case:
    paths = [
        put(folder, "csv/eval_segments.csv", EVAL_CSV),
        put(folder, "csv/balanced_train_segments.csv", BALANCED_CSV),
    ]
    media = touch(
        folder / "media",
        "eval/Y-0RWZT-miFs.wav",
        "b/--PJHxphWEs_30000_40000.mp4",
        "--ZhevVpy1s.mp4",
    )
    found = ["-0RWZT-miFs", "--PJHxphWEs", "--ZhevVpy1s"]
    return Case(paths, media, found, ["--4gqARaEJE", "-0BIyqJj9ZU"])


VGGSOUND_CSV = """---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,waterfall burbling,train
--56QUhyDQM,185,"female speech, woman speaking",train
--5OkAjCI7g,40,people marching,train
"""
STAT_CSV = (
    '"female speech, woman speaking",1050,people\n'
    "people marching,817,people\nwaterfall burbling,514,nature"  # no newline at the end
)


def vggsound(folder: Path) -> Case:
    paths = [put(folder, "vggsound.csv", VGGSOUND_CSV), put(folder, "stat.csv", STAT_CSV)]
    media = touch(
        folder / "media", "---g-f_I2yQ_000001.mp4", "x/--56QUhyDQM_185.MKV", "--5OkAjCI7g.webm"
    )
    found = ["---g-f_I2yQ_000001", "--56QUhyDQM_000185", "--5OkAjCI7g_000040"]
    return Case(paths, media, found, ["--0PQM4-hqg_000030"])


EPIC_HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,"
    "start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
)
EPIC_TRAIN = (
    EPIC_HEADER
    + """P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,2,door,1,['door'],[1]
P01_01_1,P01,P01_01,00:00:02.629,00:01:04.37,01:00:06.175,262,370,grab knife,grab,0,knife,0,"['knife', 'door']","[0, 1]"
"""  # noqa: E501
)
EPIC_VALIDATION = (
    EPIC_HEADER
    + """P02_03_0,P02,P02_03,00:00:01.089,00:00:05.00,00:00:06.50,8,202,put lid,put,1,lid,1,['lid'],[1]
"""  # noqa: E501
)
VERBS = """id,key,instances,category
0,take,"['collect-from', 'grab', 'pick-up']",retrieve
1,put,"['place', 'put']",leave
2,open,"['open', 'uncork']",access
"""
NOUNS = """id,key,instances,category
0,knife,"['knife', 'knife:bread']",cutlery
1,door,['door'],furniture
"""


def epic_kitchens(folder: Path) -> Case:
    lists = folder / "epic-kitchens-100-annotations"
    put(lists, "EPIC_100_train.csv", EPIC_TRAIN)
    put(lists, "EPIC_100_validation.csv", EPIC_VALIDATION)
    put(lists, "EPIC_100_verb_classes.csv", VERBS)
    put(lists, "EPIC_100_noun_classes_v2.csv", NOUNS)
    put(lists, "EPIC_100_tail_verbs.csv", "verb\n1\n")
    media = touch(folder / "EPIC-KITCHENS", "P01/videos/P01_01.MP4")
    return Case([lists], media, ["P01_01_0", "P01_01_1"], ["P02_03_0"])


KINETICS_TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
"testifying",---QUuC4vJs,84,94,train,0
dancing ballet,--kVrsIIWZk,0,10,train,0
strumming guitar,-AbcdefGhij,5,15,train,1
tapping guitar,-BbcdefGhij,5,15,train,1
"""
KINETICS_VAL = """label,youtube_id,time_start,time_end,split
testifying,--GkrdYZ9Tc,0,10,validate
"""


def kinetics(folder: Path) -> Case:
    paths = [
        put(folder, "csv/train.csv", KINETICS_TRAIN),
        put(folder, "csv/val.csv", KINETICS_VAL),
        put(folder, "csv/test.csv", "youtube_id,time_start,time_end,split\na,0,10,test\n"),
    ]
    media = touch(
        folder / "media",
        "train/testifying/---QUuC4vJs_000084_000094.mp4",
        "train/dancing_ballet/--kVrsIIWZk_000000_000010.mp4",
        "train/strumming guitar/-AbcdefGhij.mp4.part",
        "train/tapping guitar/-BbcdefGhij_000005_000015.mp4",
        "val/--GkrdYZ9Tc.mkv",
    )
    found = [
        "---QUuC4vJs_000084_000094",
        "--kVrsIIWZk_000000_000010",
        "-BbcdefGhij_000005_000015",
        "--GkrdYZ9Tc_000000_000010",
    ]
    return Case(paths, media, found, ["-AbcdefGhij_000005_000015"])


def kinetics_sounds(folder: Path) -> Case:
    case = kinetics(folder)
    return Case(case.paths, case.media, ["-BbcdefGhij_000005_000015"], [])


def kinetics_sounds_32(folder: Path) -> Case:
    """The only list with strumming guitar."""
    case = kinetics(folder)
    return Case(case.paths, case.media, ["-BbcdefGhij_000005_000015"], case.missing)


def moments(folder: Path) -> Case:
    lists = folder / "Moments_in_Time_Raw"
    put(
        lists,
        "trainingSet.csv",
        "clapping/yt-_aB1cD-Ef4_12.mp4,clapping,3,0\n"
        "adult+female+singing/flickr-0-2-8_1.mp4,adult+female+singing,4,1\n",
    )
    put(lists, "validationSet.csv", "clapping/flickr-0-2-8_1.mp4,clapping,7,1\n")
    put(lists, "moments_categories.txt", "clapping,0\nadult+female+singing,1\npraying,2\n")
    touch(lists, "training/clapping/yt-_aB1cD-Ef4_12.mp4", "validation/clapping/flickr-0-2-8_1.mp4")
    found = ["clapping/yt-_aB1cD-Ef4_12.mp4", "clapping/flickr-0-2-8_1.mp4"]
    return Case([lists], lists, found, ["adult+female+singing/flickr-0-2-8_1.mp4"])


AVE_HEADER = "Category&VideoID&Quality&StartTime&EndTime\n"
AVE_TRAIN = """Church bell&RUhOCu3LNXM&good&0&10
Male speech, man speaking&-p0bpEJcmnE&good&0&0
Violin, fiddle&VWi2ENBuTbw&good&2&7
"""
AVE_VAL = "Church bell&VWi2ENBuTbw&good&0&10\n"
AVE_TEST = """Church bell&5vtL_xDe2Pk&good&0&10
Violin, fiddle&RUhOCu3LNXM&bad&0&10
"""


def ave(folder: Path) -> Case:
    lists = folder / "AVE_Dataset"
    put(lists, "Annotations.txt", AVE_HEADER + AVE_TRAIN + AVE_VAL + AVE_TEST)
    put(lists, "trainSet.txt", AVE_TRAIN)
    put(lists, "valSet.txt", AVE_VAL)
    put(lists, "testSet.txt", AVE_TEST.rstrip("\n"))
    put(lists, "ReadMe.txt", "AVE")
    touch(lists / "AVE", "RUhOCu3LNXM.mp4", "Male speech, man speaking&-p0bpEJcmnE&good&0&0.mp4")
    touch(lists / "AVE", "VWi2ENBuTbw.mp4")
    found = [*AVE_TRAIN.splitlines(), *AVE_VAL.splitlines(), AVE_TEST.splitlines()[1]]
    return Case([lists], lists, found, AVE_TEST.splitlines()[:1])


UCF_CLASSES = ["ApplyEyeMakeup", "BaseballPitch", "HandstandPushups"]


def ucf101(folder: Path) -> Case:
    """Groups 8 to 25 train, 1 to 7 test, two clips each; the last class is spelt in two ways."""
    lists = folder / "ucfTrainTestlist"
    put(lists, "classInd.txt", "".join(f"{i} {name}\r\n" for i, name in enumerate(UCF_CLASSES, 1)))
    files = {"train": [], "test": []}
    for index, name in enumerate(UCF_CLASSES, 1):
        spelt = name.replace("Handstand", "HandStand")
        for group in range(1, 26):
            for clip in (1, 2):
                path = f"{name}/v_{spelt}_g{group:02d}_c{clip:02d}.avi"
                files["test" if group < 8 else "train"].append((path, index))
    put(lists, "trainlist01.txt", "".join(f"{path} {index}\r\n" for path, index in files["train"]))
    put(lists, "testlist01.txt", "".join(f"{path}\r\n" for path, _ in files["test"]))
    put(lists, "trainlist02.txt", f"{files['test'][0][0]} 1\n")
    put(lists, "testlist02.txt", f"{files['train'][0][0]}\n")
    names = [path for found in files.values() for path, _ in found]
    media = touch(folder / "UCF-101", *names[1:])
    ids = [Path(name).stem for name in names]
    return Case([lists], media, ids[1:], ids[:1])


def ucf51(folder: Path) -> Case:
    case = ucf101(folder)
    case.found = [each for each in case.found if "BaseballPitch" not in each]
    return case


ACTIVITYNET = """{"version": "VERSION 1.3", "taxonomy": [], "database": {
"5n7NCViB5TU": {"duration": 121.44, "subset": "training", "annotations": [
 {"segment": [24.25, 38.08], "label": "Discus throw"},
 {"segment": [97.7, 111.1], "label": "Polo"}]},
"abcdefghijk": {"duration": 60.0, "subset": "validation", "annotations": [
 {"segment": [1.0, 2.0], "label": "Polo"}]},
"lmnopqrstuv": {"duration": 9.0, "subset": "testing", "annotations": []}
}}"""


def activitynet(folder: Path) -> Case:
    path = put(folder, "activity_net.v1-3.min.json", ACTIVITYNET)
    media = touch(folder / "media", "v_5n7NCViB5TU.mp4")
    found = ["5n7NCViB5TU_24.25_38.08", "5n7NCViB5TU_97.7_111.1"]
    return Case([path], media, found, ["abcdefghijk_1_2"])


CREMAD_CSV = '"Stimulus_Number","Filename"\n' + "".join(
    f'{number},"{name}"\n'
    for number, name in enumerate(
        (f"{actor}_{sentence}_XX" for actor in range(1001, 1011) for sentence in
         ("IEO_ANG", "TIE_DIS", "IOM_FEA", "IWW_HAP", "TAI_NEU", "MTI_SAD")),
        1,
    )
)  # fmt: skip


def cremad(folder: Path) -> Case:
    path = put(folder, "CREMA-D/SentenceFilenames.csv", CREMAD_CSV)
    ids = [line.split('"')[1] for line in CREMAD_CSV.splitlines()[1:]]
    media = touch(folder / "CREMA-D", *(f"VideoFlash/{name}.flv" for name in ids[:-1]))
    touch(media, *(f"AudioWAV/{name}.wav" for name in ids[:-2]))
    return Case([path], media, ids[:-1], ids[-1:])


CAVMAE_TRAIN = """{"data": [
{"video_id": "--PJHxphWEs", "wav": "/data/a/--PJHxphWEs.flac", "video_path": "/data/frames/", "labels": "/m/09x0r,/t/dd00088"},
{"video_id": "--ZhevVpy1s", "wav": "/data/a/--ZhevVpy1s.flac", "video_path": "/data/frames/", "labels": "\\"/m/012xff\\""}
]}"""  # noqa: E501
CAVMAE_EVAL = (
    """{"data": [{"wav": "/data/eval/Y-0RWZT-miFs.wav", "labels": "/m/03v3yw,/m/0k4j"}]}"""
)


def cavmae(folder: Path) -> Case:
    paths = [
        put(folder, "audioset_20k_cleaned.json", CAVMAE_TRAIN),
        put(folder, "audioset_eval_cleaned.json", CAVMAE_EVAL),
    ]
    media = touch(folder / "media", "--PJHxphWEs.mp4", "audio/--PJHxphWEs.flac")
    touch(media, "Y-0RWZT-miFs.wav")
    return Case(paths, media, ["--PJHxphWEs", "Y-0RWZT-miFs"], ["--ZhevVpy1s"])


def huggingface(folder: Path) -> Case:
    media = folder / "my-videos"
    train = put(
        media, "train/metadata.csv", 'file_name,label,text\na.mp4,"cat, tabby",x\nsub/b.mp4,dog,y\n'
    )
    test = put(
        media,
        "test/metadata.jsonl",
        '{"file_name": "a.mp4", "label": "dog"}\n\n{"file_name": "gone.mp4", "label": "dog"}\n',
    )
    touch(media, "train/a.mp4", "train/sub/b.mp4", "test/a.mp4")
    return Case([train, test], media, ["train/a", "train/sub/b", "test/a"], ["test/gone"])


VGGSOUNDER_CSV = """video_id,label,modality,background_music,static_image,voice_over
--i-y1v8Hy8_000000,child singing,AV,False,False,True
--i-y1v8Hy8_000000,"child speech, kid speaking",AV,False,False,True
-0BIyqJj9ZU_000030,baby laughter,A,False,False,False
-0BIyqJj9ZU_000030,people belly laughing,V,False,False,False
"""


def vggsounder(folder: Path) -> Case:
    path = put(folder, "vggsounder.csv", VGGSOUNDER_CSV)
    media = touch(folder / "media", "--i-y1v8Hy8_000000.mp4")
    return Case([path], media, ["--i-y1v8Hy8_000000"], ["-0BIyqJj9ZU_000030"])


EPIC_SOUNDS_HEADER = (
    "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,description,class,"
    "class_id\n"
)
EPIC_SOUNDS_VALIDATION = (
    EPIC_SOUNDS_HEADER
    + """P01_11_0,P01,P01_11,00:00:02.069,00:00:02.993,clang / clatter,metal-only collision,0
P01_11_1,P01,P01_11,00:00:03.065,00:00:14.447,paper rustle,rustle,1
P01_11_3,P01,P01_11,00:00:21.163,01:00:21.783,sniffle,human,2
"""
)
EPIC_SOUNDS_TRAIN = EPIC_SOUNDS_VALIDATION.replace("P01_11", "P01_01")


def epic_sounds(folder: Path) -> Case:
    lists = folder / "epic-sounds-annotations"
    put(lists, "EPIC_Sounds_train.csv", EPIC_SOUNDS_TRAIN)
    put(lists, "EPIC_Sounds_validation.csv", EPIC_SOUNDS_VALIDATION)
    put(lists, "sound_events_not_categorised.csv", "annotation_id\n")
    media = touch(folder / "EPIC-KITCHENS", "P01/videos/P01_01.MP4")
    numbers = (0, 1, 3)
    return Case([lists], media, [f"P01_01_{n}" for n in numbers], [f"P01_11_{n}" for n in numbers])


def llp(folder: Path) -> Case:
    lists = folder / "data"
    train = "BjCEufrlXm4_20_30\tSpeech,Dog\n-AdKA_1Q_Tg_0_10\tFrying_(food)\n"
    put(lists, "AVVP_train.csv", "filename\tevent_labels\n" + train)
    put(lists, "AVVP_val_pd.csv", "filename\tevent_labels\n7nSYwyaP4QE_50_60\tDog\n")
    put(lists, "AVVP_dataset_full.csv", "filename\tevent_labels\n" + train)
    put(lists, "AVVP_eval_audio.csv", "filename\tonset\toffset\tevent_labels\n")
    media = touch(folder / "LLP_dataset", "video/BjCEufrlXm4.mp4", "video/-AdKA_1Q_Tg_0_10.mp4")
    return Case([lists], media, ["BjCEufrlXm4_20_30", "-AdKA_1Q_Tg_0_10"], ["7nSYwyaP4QE_50_60"])


def path_list(folder: Path) -> Case:
    paths = [
        put(folder, "train.txt", "dogs/a b.mp4 barking\ndogs/c.mp4 barking howling\n"),
        put(folder, "val.txt", "cats/d.mp4 purring\n"),
    ]
    media = touch(folder / "media", "train/dogs/a b.mp4", "dogs/c.mkv")
    return Case(paths, media, ["dogs/a b.mp4", "dogs/c.mp4"], ["cats/d.mp4"])


def _task(number: int, url: str, split: str, choice: str) -> str:
    return f"""{{"id": {number}, "data": {{"video": "{url}", "split": "{split}"}}, "annotations": [
 {{"id": 5, "was_cancelled": false, "result": [{{"from_name": "choice", "to_name": "video",
  "type": "choices", "value": {{"choices": ["{choice}"]}}}}]}}], "predictions": []}}"""


LABEL_STUDIO = (
    _task(1, "/data/upload/3/0a1b2c3d-dog_park.mp4", "train", "dog"),
    _task(2, "/data/local-files/?d=clips/cat%201.mp4", "train", "cat"),
    _task(3, "s3://bucket/gone.mp4", "test", "cat"),
)


def label_studio(folder: Path) -> Case:
    path = put(folder, "project-3.json", f"[{', '.join(LABEL_STUDIO)}]")
    media = touch(folder / "media", "clips/cat 1.mp4", "dog_park.mp4")
    return Case([path], media, ["0a1b2c3d-dog_park", "cat 1"], ["gone"])


FIFTYONE = """{"classes": ["cat", "dog"], "labels": {
"a": [{"label": 1, "timestamps": [0.5, 2.0], "confidence": null, "attributes": {}},
      {"label": 0, "timestamps": [3.0, 4.5]}],
"b": [{"label": 0, "timestamps": [1.0, 2.0]}]
}}"""


def fiftyone(folder: Path) -> Case:
    path = put(folder, "train/labels.json", FIFTYONE)
    media = touch(folder / "train", "data/a.mp4")
    return Case([path], media, ["a#0.5", "a#3"], ["b#1"])


def webdataset(folder: Path) -> Case:
    """Empty clips: what is in them is not looked at."""
    path = folder / "tars" / "train-00000.tar"
    path.parent.mkdir(parents=True)
    members = {"0.mp4": "", "0.cls": "dog", "1.wav": "", "1.json": '{"label": "cat"}'}
    members["2.json"] = '{"label": "cat", "status": "failed_to_download"}'
    with tarfile.open(path, "w") as tar:
        for name, text in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            tar.addfile(about, BytesIO(text.encode()))
    return Case([path], folder, ["train-00000/0", "train-00000/1"], ["train-00000/2"])


def huggingface_parquet(folder: Path) -> Case:
    path = folder / "data" / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    clips = [{"bytes": b"x", "path": "a.mp4"}, {"bytes": b"x", "path": None}, None]
    table = pyarrow.table({"video": clips, "label": ["dog", "cat", "cat"]})
    pyarrow.parquet.write_table(table, path)
    ids = [f"train-00000-of-00001/{number}" for number in range(3)]
    return Case([path], folder, ids[:2], ids[2:])


CASES = {
    "audioset": audioset,
    "audioset-500k": audioset,
    "vggsound": vggsound,
    "vggsounder": vggsounder,
    "epic-kitchens": epic_kitchens,
    "epic-sounds": epic_sounds,
    "kinetics": kinetics,
    "kinetics-sounds-31": kinetics_sounds,
    "kinetics-sounds-32": kinetics_sounds_32,
    "kinetics-sounds-34": kinetics_sounds,
    "moments": moments,
    "llp": llp,
    "ave": ave,
    "ucf101": ucf101,
    "ucf51": ucf51,
    "activitynet": activitynet,
    "cremad": cremad,
    "cavmae": cavmae,
    "list": path_list,
    "huggingface": huggingface,
    "huggingface-parquet": huggingface_parquet,
    "webdataset": webdataset,
    "label-studio": label_studio,
    "fiftyone": fiftyone,
}
