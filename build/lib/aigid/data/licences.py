"""Licences of published weights, and where the datasets of the presets are published."""

DATASET_LICENCES = {  # size; place; licence, where its publisher states one that is known here
    "aigcdetectionbenchmark": "152,500 images of 17 test sets; links in Ekko-zn/AIGCDetectBenchmark; terms there",
    "bfree_online": "about 1,400 viral images; listed by URL in grip-unina/B-Free; licence of each image its own",
    "chameleon": (
        "26,000 images; on request by e-mail from the authors of AIDE (shilinyan99/AIDE); for academic research, no "
        "commercial use"
    ),
    "cifake": "120,000 images of 32 px, 0.1 GB; Kaggle, birdy654/cifake-real-and-ai-generated-synthetic-images; MIT",
    "community_forensics": (
        "evaluation sets: 51,836 images, 206 GB, Hugging Face, OwensLab/CommunityForensics-Eval, and publicEval of "
        "OwensLab/CommunityForensics, whose 2.7 million fakes of 4,803 generators are CC BY 4.0 for research, and the "
        "licence of each generator; terms of the former on its card"
    ),
    "dda": "pairs of COCO photographs and their VAE reconstructions; see roy-ch/Dual-Data-Alignment for them and terms",
    "dda_coco": (
        "29,969 reconstructions of MSCOCO val2017, 4.3 GB; Hugging Face, Junwei-Xi/DDA-COCO; the 5,000 photographs: "
        "MSCOCO 2017; terms as stated there"
    ),
    "deepfake60k": "60,000 faces; Hugging Face, prithivMLmods/Deepfake-vs-Real-60K; terms on its card",
    "defactify": "96,000 images; Hugging Face, Rajarshi-Roy-research/Defactify_Image_Dataset; terms on its card",
    "ditfake": "30,000 images; Hugging Face, lioooox/DiTFake; Apache-2.0",
    "drct2m": "two million images; ModelScope, DRCT-2M, and MSCOCO 2017; licences as stated there",
    "evalgen": "55,300 images, of which 2,765 are used; Hugging Face, Junwei-Xi/EvalGEN; terms on its card",
    "forensynths": "ProGAN (72 GB) and 11 test sets (19 GB); links in PeterWang512/CNNDetection; CC BY-NC-SA 4.0",
    "genimage": "2.7 million images, about 500 GB; links in GenImage-Dataset/GenImage; CC BY-NC-SA 4.0",
    "ntire": "about 277,000 images; Hugging Face, deepfakesMSU/NTIRE-RobustAIGenDetection-train; terms on its card",
    "ntire_test": (
        "12,500 validation (4 GB) and 2,500 public test images (0.9 GB) with labels and distortions; Hugging Face, "
        "deepfakesMSU/NTIRE-RobustAIGenDetection-val and -test-public; terms on their cards: not for training"
    ),
    "photos": "2,328 images, 0.1 GB; aigid fetch photos; each source's own: for research, no image may be passed on",
    "synthbuster": (
        "9,000 fakes (12 GB), Zenodo record 10066460, CC BY-NC-SA 4.0, and 1,000 photographs of RAISE, which has terms "
        "of its own; not for commercial use"
    ),
    "synthwildx": (
        "500 photographs and 1,500 fakes; listed by URL in grip-unina/ClipBased-SyntheticImageDetection; "
        "licence of each image its own"
    ),
    "ufd": (
        "720,000 ProGAN and LSUN images (72 GB) and 19 test sets (19 GB and more); "
        "links in WisconsinAIVision/UniversalFakeDetect; ForenSynths' part is CC BY-NC-SA 4.0"
    ),
    "wildrf": (
        "photographs and fakes of three social networks; Google Drive, linked in "
        "barcavia/RealTime-DeepfakeDetection-in-the-RealWorld, which states no licence: each image's own"
    ),
}
DEMO_LICENCE = "photographs that ship with scikit-image and scikit-learn, under the licences stated there"
WEIGHT_LICENCES = {  # of published backbones, by the name under which their library knows them
    "ViT-B-16-quickgelu": "OpenAI CLIP, MIT",
    "ViT-L-14-quickgelu": "OpenAI CLIP, MIT",
    "ViT-L-14-336-quickgelu": "OpenAI CLIP, MIT",
    "openai/clip-vit-base-patch16": "OpenAI CLIP, MIT; an 8-bit copy from a wheel",
    "openai/clip-vit-large-patch14": "OpenAI CLIP, MIT",
    "tf_efficientnet_lite0": "Google EfficientNet-Lite0, Apache-2.0; a copy from a wheel",
    "facebook/dinov2-large": "Meta DINOv2, Apache-2.0",
    "vit_large_patch14_dinov2.lvd142m": "Meta DINOv2, Apache-2.0",
    "vit_large_patch14_reg4_dinov2.lvd142m": "Meta DINOv2, Apache-2.0",
    "google/siglip-base-patch16-224": "Google SigLIP, Apache-2.0",
    "google/siglip-so400m-patch14-384": "Google SigLIP, Apache-2.0",
    "google/siglip2-so400m-patch14-384": "Google SigLIP 2, Apache-2.0",
    "ViT-gopt-16-SigLIP2-384": "Google SigLIP 2, Apache-2.0",
    "ViT-H-14-worldwide-quickgelu": "MetaCLIP 2, CC-BY-NC-4.0",
    **{
        f"PE-Core-{size}": "Meta PE-Core, Apache-2.0"
        for size in ("T-16-384", "S-16-384", "B-16", "L-14-336", "bigG-14-448")
    },
    **{
        f"vit_{size}_dinov3.lvd1689m": "Meta DINOv3, DINOv3 License"
        for size in ("small_patch16", "base_patch16", "large_patch16", "huge_plus_patch16", "7b_patch16")
    },
}
