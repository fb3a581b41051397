"""All layouts by name."""

from aigid.data.layouts import Layout, defactify, folders, ntire, raid, tables

LAYOUTS: dict[str, Layout] = {
    "aigcdetectionbenchmark": Layout(
        "[AIGCDetectionBenchmark/][test/]<generator>[/<class>]/{0_real,1_fake}", folders.aigcdetectionbenchmark
    ),
    "bfree_online": Layout(
        "a .csv with columns filename, label (REAL, FAKE) and source_id, beside the images that it names",
        tables.bfree_online,
    ),
    "chameleon": Layout("[Chameleon/][test/]{0_real,1_fake}/<image>", folders.chameleon),
    "cifake": Layout("{train,test}/{REAL,FAKE}/<image>", folders.cifake),
    "community_forensics": Layout(tables.COMMUNITY_FORENSICS, tables.community_forensics, archives=(".parquet",)),
    "dda_coco": Layout(
        "DDA-COCO/<vae>/val2017/<COCO id>.jpg beside MSCOCO/val2017/<COCO id>.jpg, which are not in it", folders.drct2m
    ),
    "defactify": Layout(defactify.PATTERN, defactify.defactify, archives=(".parquet",)),
    "deepfake60k": Layout("[<folder>/]{Real,Fake}/<image>", folders.deepfake60k),
    "ditfake": Layout(
        "[DiTFake/]test/{FLUX.1-schnell,PixArt-Sigma-XL-2-1024-MS,stable-diffusion-3-medium-diffusers}/{0_real,1_fake}",
        folders.ditfake,
    ),
    "drct2m": Layout(
        "<model>/{train2017,val2017}/<COCO id>.png beside MSCOCO/{train2017,val2017}/<COCO id>.jpg", folders.drct2m
    ),
    "evalgen": Layout(
        "[EvalGEN/]{Flux,GoT,Infinity,NOVA,OmniGen}/<image>_0.<suffix>, the first of each prompt's; no reals",
        folders.evalgen,
        one_class=True,
    ),
    "forensynths": Layout(
        "{train,val}/[progan/]<class>/{0_real,1_fake} and [test/]<generator>[/<class>]/{0_real,1_fake}",
        folders.forensynths,
    ),
    "genimage": Layout("<generator>/[<folder of the zip>/]{train,val}/{ai,nature}/<image>", folders.genimage),
    "ntire_shards": Layout(
        "shard_<i>/images/<name>.jpg beside shard_<i>/labels.csv with columns for the image's name and label (0, 1)",
        ntire.ntire_shards,
    ),
    "ntire_test": Layout(
        "<set>_labels.csv with columns image_name, label, is_distorted, distortions and distortion_scales beside "
        "<set>_images/<image>, such as val, val_hard (in val_images_hard) and test",
        ntire.ntire_test,
    ),
    "raid": Layout(raid.PATTERN, raid.raid),
    "synthbuster": Layout("synthbuster/<generator>/<image> beside real_RAISE_1k/<image>", folders.synthbuster),
    "synthwildx": Layout(
        "[synthwildx/]list.csv with columns filename and typ (real, dalle3, firefly, midjourney) beside its images",
        tables.synthwildx,
    ),
    "ufd": Layout(
        "[datasets/]{train,val}/progan/<class>/{0_real,1_fake}, [datasets/]test/<set>[/<class>]/{0_real,1_fake}, "
        "diffusion_datasets/{imagenet,laion}/0_real and diffusion_datasets/<generator>/1_fake",
        folders.ufd,
    ),
    "wildrf": Layout(
        "[WildRF/]{train,val}/{0_real,1_fake} and [WildRF/]test/{reddit,twitter,facebook}/{0_real,1_fake}",
        folders.wildrf,
    ),
    # and for images of one's own
    "aligned_pairs": Layout(
        "[{train,val,test}/]real/<id>.<suffix> beside [{train,val,test}/]fake/<id>.<suffix>", folders.aligned_pairs
    ),
    "csv": Layout(
        "one .csv or .parquet table with columns path (or filename) and label (or typ), beside the images it names",
        tables.csv_table,
    ),
    "realfake": Layout(folders.REALFAKE, folders.realfake),
}
