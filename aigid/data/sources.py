"""Where the datasets of the presets are published: what a user without them needs to know."""

SOURCES = {
    "bfree_online": "about 1,400 viral images, listed by URL in grip-unina/B-Free; licence of each image its own",
    "chameleon": "on request by e-mail from the authors of AIDE (shilinyan99/AIDE)",
    "cifake": "120,000 images of 32 px, 0.1 GB; Kaggle, birdy654/cifake-real-and-ai-generated-synthetic-images; MIT",
    "dda": "pairs of COCO photographs and their VAE reconstructions; see roy-ch/Dual-Data-Alignment",
    "defactify": "96,000 images; Hugging Face, Rajarshi-Roy-research/Defactify_Image_Dataset",
    "drct2m": "two million images; ModelScope, DRCT-2M, and MSCOCO 2017",
    "forensynths": "ProGAN and 11 test sets; links in PeterWang512/CNNDetection; CC BY-NC-SA",
    "genimage": "1,331,167 photographs and 1,350,000 fakes; links in GenImage-Dataset/GenImage",
    "ntire": "about 277,000 images; Hugging Face, deepfakesMSU/NTIRE-RobustAIGenDetection-train",
    "synthbuster": "9,000 fakes, and 1,000 photographs of RAISE; links in grip-unina/ClipBased-SyntheticImageDetection",
    "synthwildx": "500 photographs and 1,500 fakes; listed in grip-unina/ClipBased-SyntheticImageDetection",
    "ufd": "720,000 ProGAN and LSUN images and 19 test sets; links in WisconsinAIVision/UniversalFakeDetect",
    "wildrf": "photographs and fakes of three social networks; links in the WildRF repository",
}
