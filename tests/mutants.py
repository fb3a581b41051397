"""Take one part of the program away at a time, and run the test that must notice.

python -m tests.mutants [WORD ...]

Each mutant is applied alone, in a copy of the sources. It is killed if its test fails; it survives if the test passes,
and then the test proves nothing about that part. With words, only mutants whose line holds one of them.
"""

import compileall
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple, TypeVar

import pytest

Job = TypeVar("Job")
ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("aigid", "benchmarks", "stages", "tests", "pyproject.toml", "params.yaml", "dvc.yaml")
LIBRARIES = (  # which each test would import anew
    "diffusers.models.autoencoders.autoencoder_kl", "h5py", "hypothesis",
    "matplotlib.pyplot", "onnxruntime", "open_clip", "pandas", "pydantic", "requests", "skimage", "sklearn.svm",
    "spandrel", "timm", "torch._dynamo", "transformers",
)  # fmt: skip
OPTIONS = ("-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "")
PASSED, FAILED, NOT_RUN = 0, 1, 3  # exit statuses of pytest; others than the first two say that the test did not run
TRAINING, MODEL = "aigid/detectors/gendet/training.py", "aigid/detectors/gendet/model.py"
CHANNELS, CNN = "aigid/detectors/cnn/data.py", "tests/unit/detectors/cnn/test_detector.py"
SVM = "tests/unit/detectors/svm/test_detector.py"
STAGE = "tests/unit/contracts/test_detectors.py::test_the_stage_trains_on_train_and_validates_on_val"
DETECTOR, PARTS = "tests/unit/detectors/gendet/test_detector.py", "tests/unit/detectors/gendet/test_training.py"
SEF_SAMPLES, SEF_LOSSES = "aigid/detectors/sef/data.py", "aigid/detectors/sef/losses.py"
SEF_TRAINING, FILTERS = "aigid/detectors/sef/training.py", "aigid/degradations/filters.py"
SEF_DATA, SEF_LOSS = "tests/unit/detectors/sef/test_data.py", "tests/unit/detectors/sef/test_losses.py"
SEF_MIX = "tests/unit/degradations/test_filters.py::test_one_mix_is_truncated_and_the_other_rounded"
SEF_RATES = f"{SEF_LOSS}::test_the_rates_of_an_update_are_those_of_the_released_code"
BASIC, BASIC_TEST = "aigid/degradations/basic.py", "tests/unit/degradations/test_basic.py"
JUDGE, CARD = "tests/unit/evaluation/test_evaluate.py", "tests/unit/report/test_cards.py"
DDA, DDA_MEANS = "aigid/evaluation/dda.py", "tests/unit/evaluation/test_protocols.py"

LOOP, PASSES, CUTS = "aigid/training/loop.py", "aigid/training/passes.py", "tests/unit/training/test_passes.py"
CHECKPOINTS = "tests/unit/training/test_checkpoints.py"
OVERFLOW = "tests/unit/training/test_precision.py::test_a_step_that_overflows_is_done_again_and_moves_nothing_before"
EXPERTS, DISTILLATION = "aigid/detectors/featdistill/training.py", "aigid/detectors/featdistill/losses.py"
STAGES, TERMS, PROCESSES, SHOWN = (
    f"tests/unit/detectors/featdistill/test_{name}.py" for name in ("training", "losses", "processes", "data")
)


class Mutant(NamedTuple):
    """``old``, which occurs once in ``file``, becomes ``new``; then ``test``, which guards ``removed``, must fail."""

    file: str
    old: str
    new: str
    test: str
    removed: str


MUTANTS = [Mutant(*row) for row in (
    ("aigid/detectors/stacking.py", "_rows(train, folds != fold)", "train",
     "tests/unit/detectors/test_stacking.py::test_the_weights_are_those_of_predictions_out_of_fold",
     "stacking: predictions are out of fold"),
    (TRAINING, "x = self.augmented(self.fakes[rows])", "x = self.fakes[rows]",
     f"{PARTS}::test_the_student_learns_from_augmented_fakes", "GenDet: the augmenter before the student"),
    (TRAINING, '"full": ("real", "fake", "augmenter")', '"full": ("real", "fake")',
     f"{DETECTOR}::test_logs_have_a_line_an_epoch", "GenDet: the augmenter's training"),
    (TRAINING, '"ad": ("real",)', '"ad": ("real", "fake")',
     f"{DETECTOR}::test_a_student_of_reals_alone_learns_nothing_from_fakes",
     "GenDet: mode ad keeps fakes from the student"),
    (TRAINING, '"full": ("real", "fake", "augmenter")', '"full": ("fake", "real", "augmenter")',
     f"{PARTS}::test_epochs_of_a_rotation_come_in_the_papers_order", "GenDet: the order of a rotation's epochs"),
    (TRAINING, 'rotations.augmented if settings.classifier_fakes == "augmented" else None', "None",
     f"{DETECTOR}::test_the_classifier_can_be_trained_on_augmented_fakes", "GenDet: classifier_fakes"),
    (MODEL, "self.normalize_discrepancy = normalize_discrepancy", "self.normalize_discrepancy = False",
     f"{DETECTOR}::test_the_classifier_can_see_directions_alone", "GenDet: normalize_discrepancy"),
    (TRAINING, "real_loss(zt, self.student(x), self.settings.reduction)", 'real_loss(zt, self.student(x), "mean")',
     f"{PARTS}::test_reduction_is_that_of_both_mean_squared_losses", "GenDet: reduction in Eq. 1"),
    (TRAINING, "real_loss(self.teacher(x), self.student(x), self.settings.reduction)",
     'real_loss(self.teacher(x), self.student(x), "mean")',
     f"{PARTS}::test_reduction_is_that_of_both_mean_squared_losses", "GenDet: reduction in Eq. 3"),
    (TRAINING, 'self.settings.alpha if stage == "fake" else 1.0', "1.0",
     f"{PARTS}::test_alpha_zero_leaves_the_fakes_without_a_say", "GenDet: alpha"),
    (TRAINING, 'separate = settings.optimizer_sharing == "separate"', "separate = False",
     f"{PARTS}::test_separate_states_make_alpha_a_matter_of_scale", "GenDet: optimizer_sharing separate"),
    (TRAINING, 'separate = settings.optimizer_sharing == "separate"', "separate = True",
     f"{PARTS}::test_separate_states_make_alpha_a_matter_of_scale", "GenDet: optimizer_sharing shared"),
    (TRAINING, 'if settings.student_init == "teacher":', "if False:",
     f"{PARTS}::test_a_student_can_start_as_the_teacher", "GenDet: student_init"),
    (TRAINING, 'self.settings.fake_sampling == "balanced"', "False",
     f"{PARTS}::test_balanced_epochs_take_as_many_fakes_as_there_are_reals", "GenDet: fake_sampling"),
    (TRAINING, "with torch.no_grad():\n            x = self.augmented(",
     "with torch.enable_grad():\n            x = self.augmented(",
     f"{PARTS}::test_no_gradient_reaches_the_augmenter_where_the_student_learns",
     "GenDet: the augmenter is detached where the student learns"),
    (TRAINING, "train_student(network, data, validation, settings, seed)",
     "train_student(network, validation, validation, settings, seed)",
     f"{DETECTOR}::test_validation_images_teach_nothing", "GenDet: the student learns from training images alone"),
    (TRAINING, "train_classifier(network, data, validation, settings, seed, augment)",
     "train_classifier(network, validation, validation, settings, seed, augment)",
     f"{DETECTOR}::test_validation_images_teach_nothing", "GenDet: the classifier learns from training images alone"),
    (TRAINING, "data, validation = to_tensors(train, network), to_tensors(val, network)\n\n    def loss",
     "data = validation = to_tensors(val, network)\n\n    def loss",
     f"{DETECTOR}::test_validation_images_teach_nothing", "GenDet: the teacher learns from training images alone"),
    ("aigid/detectors/gendet/model.py",
     '"cosine_distance": lambda rows: squared_cosine_distance(teacher(rows), student(rows))',
     '"cosine_distance": lambda rows: network.output_difference(rows).sum(dim=1)',
     f"{DETECTOR}::test_readouts_of_one_pair_stand_side_by_side", "GenDet: the read-out without a classifier"),
    ("aigid/detectors/gendet/settings.py", 'if self.student_init == "teacher" and', "if False and",
     f"{DETECTOR}::test_a_student_that_would_stay_the_teacher_is_refused",
     "GenDet: a student that would stay its teacher is refused"),
    ("aigid/detectors/featdistill/data.py", 'return f"stage {self.stage}", self.seed', 'return "stage", self.seed',
     f"{SHOWN}::test_stage_2_repeats_no_draw_of_stage_1", "FeatDistill: each stage draws its own samples"),
    (EXPERTS, 'f"featdistill {self.name} stage {self.stage}"', 'f"featdistill {self.name}"',
     f"{STAGES}::test_stages_take_images_in_another_order", "FeatDistill: each stage has an order of its own"),
    ("aigid/detectors/featdistill/settings.py",
     'return "clean" if self.mode == "l2" and self.teacher_view == "clean" else None', 'return "clean"',
     f"{SHOWN}::test_what_the_teacher_sees_follows_from_the_stage",
     "FeatDistill: a view is made only where the teacher sees it"),
    ("aigid/detectors/featdistill/data.py", 'self._view(image, True, "second", *key)', "self._view(image, True, *key)",
     f"{SHOWN}::test_an_augmented_view_is_a_draw_of_its_own",
     "FeatDistill: crd_ema: the teacher has a draw of its own"),
    (EXPERTS, "seen = degraded if batch.second is None else normalize(batch.second, preprocess, device)",
     "seen = degraded", f"{STAGES}::test_the_teacher_sees_the_view_that_the_settings_name",
     "FeatDistill: teacher_view"),
    (DISTILLATION, "return settings.distill_weight * distance(", "return distance(",
     f"{TERMS}::test_each_term_has_its_weight_and_its_sign", "FeatDistill: distill_weight"),
    (DISTILLATION, "return settings.distill_weight * distance(", "return -settings.distill_weight * distance(",
     f"{TERMS}::test_descending_the_term_brings_the_student_to_its_teacher", "FeatDistill: the sign of l2's term"),
    (DISTILLATION, "return settings.contrastive_weight * loss", "return settings.distill_weight * loss",
     f"{TERMS}::test_each_term_has_its_weight_and_its_sign", "FeatDistill: contrastive_weight"),
    (DISTILLATION, "return settings.contrastive_weight * loss", "return -settings.contrastive_weight * loss",
     f"{TERMS}::test_descending_the_term_brings_the_student_to_its_teacher", "FeatDistill: the sign of crd_ema's term"),
    (DISTILLATION, "        contrast.remember()\n", "", f"{STAGES}::test_what_stage_2_does_to_its_teacher",
     "FeatDistill: crd_ema: the queue takes the teacher's embeddings"),
    ("aigid/training/task.py", "device.type, enabled=False)", "device.type, enabled=True)",
     f"{TERMS}::test_losses_are_those_of_full_precision_under_autocast",
     "FeatDistill: losses in float32 under autocast"),
    (EXPERTS, "lambda: expert)", "lambda: member.load() if start else expert)",
     f"{STAGES}::test_stage_1_learns_and_stage_2_keeps_what_it_learnt", "FeatDistill: what stage 2 changed is written"),
    ("aigid/detectors/featdistill/model.py", "0.0 if is_free else decay", "decay",
     f"{STAGES}::test_weights_alone_decay_and_the_encoder_has_a_rate_of_its_own",
     "FeatDistill: biases, norms and embeddings do not decay"),
    (EXPERTS, "size if whole_step else 1", "1", f"{PROCESSES}::test_two_processes_equal_one",
     "FeatDistill: crd_ema: a step is one over processes"),
    ("aigid/training/loop.py",
     '        checkpoints.refuse_other_definitions(self.path, saved["definitions"], self.config.definitions)\n', "",
     "tests/unit/training/test_checkpoints.py::test_one_of_another_definition_is_refused",
     "training: no checkpoint from an older policy definition is continued"),
    (EXPERTS, "distiller.layers, dropout_mask)", "distiller.layers)", f"{PROCESSES}::test_two_processes_equal_one",
     "FeatDistill: dropout is drawn by image"),
    (EXPERTS, "checkpoint_path(plan.name, [stage_run.identity, start])",
     "checkpoint_path(plan.name, [stage_run.identity, start, distributed.world_size()])",
     f"{PROCESSES}::test_a_run_goes_on_in_another_number_of_processes",
     "FeatDistill: any number of processes goes on with a checkpoint"),
    (EXPERTS, "        check_layers(expert, settings.stage2, name)\n", "",
     f"{STAGES}::test_layers_that_the_encoder_has_not_are_refused_before_stage_1",
     "FeatDistill: layers of another expert are refused"),
    ("aigid/metrics/intervals.py",
     "    return Interval(float(np.mean(values)), *interval(draws, num_independent(labels, groups)))",
     "    mean, draws = float(np.mean(values)), np.append(draws, np.mean(values))\n"
     "    return Interval(mean, *(edge(mean, *interval(draws, num_independent(labels, groups)))"
     " for edge in (min, max)))",
     "tests/unit/metrics/test_intervals.py::test_an_interval_is_the_draws_own_even_beside_the_value",
     "FeatDistill: intervals are the bootstrap's own"),
    ("aigid/data/index.py", "    _refuse_one_folder(root, list(parts))\n", "",
     "tests/unit/data/test_index.py::test_parts_that_are_one_folder_are_refused",
     "FeatDistill: datasets that are one folder are refused"),
    ("aigid/detectors/svm/detector.py",
     "return pairwise_coupling(pairwise, num_classes), predict(decisions, num_classes)",
     "return (p := pairwise_coupling(pairwise, num_classes)), p.argmax(axis=1)",
     f"{SVM}::test_the_class_that_is_judged_is_scikit_learns_on_every_row",
     "NYCU: the SVM's class is the vote, not the largest probability"),
    ("aigid/evaluation/attribution.py", "if PREDICTED in images:", "if False:",
     f"{SVM}::test_the_class_that_is_judged_is_scikit_learns_on_every_row",
     "NYCU: metrics take the class that was decided for"),
    ("aigid/evaluation/protocols.py", 'classification.macro_f1(label, predicted != "real")',
     'classification.macro_f1(label, images["score"].to_numpy() > 0.5)',
     "tests/unit/evaluation/test_protocols.py::test_defactifys_numbers_are_those_of_the_answer_it_writes",
     "NYCU: task A follows from task B"),
    ("aigid/report/studies.py", '"dark40": 0.4', '"dark40": 0.5',
     "tests/unit/report/test_studies.py::test_the_strength_on_the_axis_is_that_of_the_view",
     "NYCU: a sweep's label is its view's strength"),
    ("aigid/degradations/policies.py", 'fixed("brightness", factor=percent / 100)',
     'fixed("brightness", factor=1 - percent / 100)',
     "tests/unit/report/test_studies.py::test_the_strength_on_the_axis_is_that_of_the_view",
     "NYCU: a view's strength is its label's"),
    (BASIC, "NUM_PASSES = 5", "NUM_PASSES = 1", f"{BASIC_TEST}::test_the_displacements_of_five_passes_add_up",
     "degradations: jitter's five passes"),
    (BASIC, "result[~(inside_rows & (x >= -pad_columns) & (x < width + pad_columns - 1))] = 0", "pass",
     f"{BASIC_TEST}::test_one_displacement_differs_at_the_border", "degradations: the organisers' black border"),
    (FILTERS, "else truncate(np.float32(255) * image)", "else to_uint8(image)",
     f"{BASIC_TEST}::test_jpeg_rounds_down_and_is_pillows", "degradations: what JPEG encodes is rounded down"),
    ("aigid/degradations/operators.py", "np.clip(values, 0, 1, out=values)", "values = to_uint8(values)",
     "tests/unit/degradations/test_policies.py::test_a_chain_of_unit_values_rounds_once_and_one_of_bytes_each_time",
     "degradations: unit values are rounded once"),
    ("aigid/detectors/featdistill/training.py", '            "policy": policy_definition(data),\n',
     '            "policy": None,\n', f"{STAGES}::test_an_older_definition_of_the_policy_is_never_continued",
     "FeatDistill: a training's policy by its definition"),
    ("aigid/evaluation/ntire.py", "_auroc(of_set[~is_distorted]", "_auroc(of_set",
     f"{DDA_MEANS}::test_ntires_official_numbers_are_of_the_organisers_distortions",
     "NTIRE: clean AUC is of undistorted images"),
    (CHANNELS, 'self._spec("clean" if "clean_side_channels" in self.settings.compat else view)', 'self._spec("clean")',
     f"{CNN}::test_side_channels_are_those_of_the_degraded_image_unless_published",
     "NYCU: side channels of the degraded image"),
    (CHANNELS, "self.keys[image]) % len(self.views)", "self.keys[image]) % 1",
     f"{CNN}::test_a_view_is_drawn_by_epoch_and_image", "NYCU: a view is drawn for each epoch and image"),
    (CHANNELS, "        check_free_space(", "        dict(",
     f"{CNN}::test_the_cache_asks_for_room_before_anything_is_computed", "NYCU: the channel cache asks for room first"),
    ("aigid/detectors/cnn/detector.py", "_samples(source, train_images.table, y, settings.views, sampled_epochs)",
     "_samples(source, val_images.table, y_val, settings.views, sampled_epochs)",
     f"{CNN}::test_each_split_is_read_for_what_it_is_for", "NYCU: the network does not train on the validation split"),
    ("stages/train.py", "samples.subset(name)", 'samples.subset(name, "val")', f"{STAGE}[cnn]",
     "NYCU: the stage keeps validation images from training"),
    ("stages/train.py", 'for name in ("train", "val"))', 'for name in ("val", "val"))', f"{STAGE}[svm]",
     "NYCU: the stage keeps validation embeddings from training"),
    ("aigid/generators/autoencoder_kl.py", "force_not_quantize=True", "force_not_quantize=False",
     "tests/unit/detectors/test_aeroblade.py::test_the_best_of_an_autoencoder_and_a_vq_model",
     "NYCU: AEROBLADE decodes a VQModel's latent as it is"),
    ("aigid/training/task.py", "tensor.to(torch.promote_types(tensor.dtype, torch.float32))", "tensor",
     f"{SEF_LOSS}::test_features_in_half_precision_are_compared_in_float32", "SEF: features are compared in float32"),
    (SEF_LOSSES, 'torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")',
     "(2 - 2 * unit @ unit.T).clamp(min=1e-12).sqrt()",
     f"{SEF_LOSS}::test_equal_features_are_no_distance_apart_and_do_not_count",
     "SEF: distances are taken from differences"),
    (SEF_LOSSES, "losing = losses > 0", "losing = losses > -1",
     f"{SEF_LOSS}::test_what_loses_nothing_is_left_out_of_the_mean", "SEF: the mean over what loses anything"),
    (SEF_SAMPLES, "apply_operators(operators, image, seeding",
     "apply_operators(get_policy(settings.policy).sample(rng), image, seeding",
     f"{SEF_DATA}::test_members_of_another_size_take_the_same_decisions",
     "SEF: one draw of the augmentation for all members"),
    (SEF_SAMPLES, 'seeding.numpy_generator("sef noise", *key)', "np.random.default_rng()",
     f"{SEF_DATA}::test_all_members_share_crop_scale_and_augmentation[dda]",
     "SEF: one noise field for members of one size"),
    (SEF_SAMPLES, 'seeding.numpy_generator("sef crop", *key)', "np.random.default_rng()",
     f"{SEF_DATA}::test_all_members_share_crop_scale_and_augmentation[dda]",
     "SEF: one place of the crop for members of one size"),
    (SEF_SAMPLES, "augmented = apply_operators(operators, image,",
     "image = random_crop(image, size, np.random.default_rng(0))\n"
     "        augmented = apply_operators(operators, image,",
     f"{SEF_DATA}::test_padding_stays_black_as_augmentation_comes_first",
     "SEF: augmentation comes before padding and crop"),
    (SEF_SAMPLES, "    if acts[0]:", "    if True:", f"{SEF_DATA}::test_quality_is_the_photographs",
     "SEF: half of the fakes are compressed"),
    (SEF_SAMPLES, "rng.permutation(2)", "np.arange(2)",
     f"{SEF_DATA}::test_mixes_come_alone_together_and_in_both_orders", "SEF: the random order of both mixes"),
    (SEF_SAMPLES, "kinds = rng.permutation(len(FILTERS))", "kinds = rng.integers(len(FILTERS), size=len(FILTERS))",
     f"{SEF_DATA}::test_two_scales_have_two_different_filters", "SEF: two different filters"),
    (SEF_SAMPLES, "int(side * factor)", "round(side * factor)", f"{SEF_DATA}::test_sizes_are_truncated",
     "SEF: sizes are truncated"),
    (SEF_SAMPLES, "for kind in (0, 1) for images in", "for kind in (1, 0) for images in",
     f"{SEF_DATA}::test_a_pairs_photographs_come_first", "SEF: the order of a pair's images"),
    (FILTERS, "return _mix(fake, real, share).astype", "return np.rint(_mix(fake, real, share)).astype", SEF_MIX,
     "SEF: the pixel mix is truncated"),
    (FILTERS, "np.rint(_mix(real, fake, share))", "_mix(real, fake, share)", SEF_MIX,
     "SEF: the mix of transforms is rounded"),
    (SEF_TRAINING, "settings.lora_learning_rate or settings.learning_rate", "settings.learning_rate", SEF_RATES,
     "SEF: a learning rate of the adapters"),
    (SEF_TRAINING, "cos(pi * step / t_max)", "cos(pi * min(step / t_max, 1))", SEF_RATES,
     "SEF: the rate rises again after t_max"),
    (DDA, "array.std(ddof=1)", "array.std(ddof=0)",
     f"{DDA_MEANS}::test_dda_means_and_deviations_of_a_benchmark_as_printed", "SEF: DDA's deviation is the sample's"),
    (DDA, "plain != FAKES_ALONE", "True", f"{DDA_MEANS}::test_dda_means_and_deviations_of_a_benchmark_as_printed",
     "SEF: EvalGEN's score is the recall of fakes"),
    (DDA, "VIEW if plain in COMPRESSED else CLEAN", "CLEAN",
     f"{DDA_MEANS}::test_dda_over_benchmarks_compresses_the_fakes_of_three",
     "SEF: fakes of three benchmarks are compressed"),
    ("aigid/generators/autoencoder_kl.py", "if digest != source.sha256:", "if False:",
     "tests/unit/aligned/test_generator.py::test_the_mirrors_tensors_must_have_the_known_sha256",
     "SEF: the mirror's tensors are those that DDA took"),
    ("aigid/aligned/pairs.py", 'image.header.quality or qualities.get(PurePosixPath(row["path"]).name)',
     "image.header.quality", "tests/unit/aligned/test_pairs.py::test_the_quality_of_a_former_jpeg_comes_from_a_map",
     "SEF: qualities of former JPEGs come from a map"),
    ("aigid/aligned/pairs.py", "match_laplacian(match_local_energy(fake, image.pixels), image.pixels)",
     "match_local_energy(fake, image.pixels)",
     "tests/unit/aligned/test_pairs.py::test_a_fakes_details_get_the_energy_of_its_photographs",
     "SEF: fakes have the Laplacian energy of the photograph"),
    (LOOP, "for value, before in zip(task.net.buffers()",
     "task.schedule.step()\n            for value, before in zip(task.net.buffers()", OVERFLOW,
     "training: the schedule waits for a step that overflows"),
    (LOOP, "for value, before in zip(task.net.buffers()",
     "task.after_step(step_info)\n            for value, before in zip(task.net.buffers()", OVERFLOW,
     "training: moving averages wait for a step that overflows"),
    (LOOP, "value.copy_(before)", "pass", OVERFLOW, "training: batch statistics forget a step that overflows"),
    ("aigid/training/task.py", "if not self.scaler.is_enabled() or", "if True or", OVERFLOW,
     "training: a step that overflows is done again at half the scale"),
    ("aigid/training/task.py", 'torch.backends.cudnn.allow_tf32 = self.name == "tf32"',
     "torch.backends.cudnn.allow_tf32 = True",
     "tests/unit/training/test_precision.py::test_tf32_is_a_choice_of_the_settings",
     "training: TF32 only where it was chosen"),
    ("aigid/core/cache.py", "json.dumps(metadata).encode()",
     'json.dumps([metadata, __import__("os").environ.get("WORLD_SIZE")]).encode()',
     f"{CHECKPOINTS}::test_processes_and_machines_are_not_in_the_name",
     "training: the number of processes is in no checkpoint's name"),
    ("aigid/training/checkpoints.py", '.to("cpu", copy=True)', '.to("cpu")',
     f"{CHECKPOINTS}::test_a_snapshot_shares_nothing", "training: a checkpoint does not share the weights' memory"),
    ("aigid/training/checkpoints.py", "max(MIN_SECONDS, self._cost / MAX_SHARE)", "MIN_SECONDS",
     f"{CHECKPOINTS}::test_they_cost_at_most_a_fiftieth_of_the_time",
     "training: checkpoints cost at most 2 % of the time"),
    ("aigid/core/console.py", "elif time.monotonic() - first > SAME_SIGNAL_SECONDS:", "else:",
     f"{CHECKPOINTS}::test_a_signal_is_answered_by_a_checkpoint_of_the_step",
     "training: a signal that comes twice at once is one"),
    (PASSES, "_scaled(self.task.loss(step_info, part), num_items(part) / num)",
     "_scaled(self.task.loss(step_info, part), self.size / num)", f"{CUTS}::test_any_number_of_processes_and_any_pass",
     "training: a pass counts by its items"),
    (PASSES, "distributed.gather_rows(output, sizes) if self.parted else output", "output",
     f"{CUTS}::test_any_number_of_processes_and_any_pass",
     "training: a group's outputs are gathered from all processes"),
    (PASSES, "        seed()\n        for part, items in self._cut(batch):",
     "        for part, items in self._cut(batch):", f"{CUTS}::test_drop_out_is_the_same_in_a_pass_that_is_done_again",
     "training: a pass that is done again has the same random layers"),
    ("aigid/training/loading.py", "distributed.world_size())[distributed.rank()]", "distributed.world_size())[0]",
     f"{CUTS}::test_any_number_of_processes_and_any_pass", "training: processes share validation"),
    ("aigid/training/loading.py", "        signal.signal(number, signal.SIG_IGN)", "        pass",
     "tests/unit/training/test_loading.py::test_signals_are_the_parents",
     "training: Ctrl-C leaves the processes that read"),
    ("aigid/training/loading.py", "num_workers=workers, generator", "num_workers=min(workers, 1), generator",
     "tests/unit/detectors/sef/test_detector.py::test_all_processes_read_at_once", "SEF: all processes read at once"),
    ("aigid/aligned/engine.py", 'include={"crop", "rounding"}', 'include={"crop"}',
     "tests/unit/aligned/test_pairs.py::test_fakes_of_another_crop_or_rounding_are_others_in_the_cache",
     "SEF: fakes of another rounding are others in the cache"),
    ("aigid/detectors/sef/training.py", "settings.epochs, settings.contrastive_batch_size, images",
     "settings.epochs, settings.batch_size, images", "tests/unit/detectors/sef/test_detector.py::test_a_step_is_ddas",
     "SEF: the contrastive loss sees two pairs of a step of eight"),
    ("aigid/detectors/cnn/training.py", "settings.batch_size) if norms else 1", "settings.batch_size) if False else 1",
     f"{CNN}::test_a_network_without_batch_norms_is_cut_as_the_machine_says",
     "NYCU: the machine does not choose what batch norms see at once"),
    ("aigid/evaluation/subsets.py", 'rows & ~names.isin([*others, ""])', 'rows & (names != "")',
     f"{JUDGE}::test_what_is_in_test_alone_is_judged_apart",
     "evaluation: generators that other splits have are not unseen"),
    ("aigid/evaluation/subsets.py", "if others else set()", "if True else set()",
     f"{JUDGE}::test_where_no_other_split_has_a_generator_none_is_told_apart",
     "evaluation: a dataset to test on alone has no unseen generators"),
    ("aigid/report/summary_tables.py", "rows[rows[count] >= MIN_IMAGES]", "rows",
     f"{CARD}::test_the_worst_source_of_a_card_has_enough_images", "card: few images are no worst source"),
    ("aigid/report/cards.py", "if listed != counts:", "if not listed:",
     f"{CARD}::test_a_card_is_refused_where_its_parts_do_not_belong_together",
     "card: licences are those of the images that were learnt from"),
    ("aigid/data/lists/__init__.py", "    _refuse_paths(images, str(source))", "    pass",
     "tests/unit/data/test_fetch.py::test_a_list_that_is_wrong_fetches_nothing", "fetch: two rows are never one file"),
)]  # fmt: skip


def apply(mutant: Mutant, root: Path) -> str:
    """Write the mutant into the copy of the sources at ``root``; return the text that it replaces."""
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        sys.exit(f"{mutant.removed}: {mutant.old!r} occurs {count} times in {mutant.file}, not once: renew the mutant")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    return text


def start(tests: list[str], root: Path) -> int:
    """Start pytest on the copy of the sources in a child process, which has the libraries already; return its pid."""
    if pid := os.fork():
        return pid
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ["PYTHONPATH"] = str(root)  # of the processes that tests start
    for name in [name for name in sys.modules if name.partition(".")[0] in SOURCES]:
        del sys.modules[name]
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    status = NOT_RUN
    try:
        status = pytest.main([*OPTIONS, *tests])
    finally:
        os._exit(status)


def copy_sources(root: Path) -> Path:
    """Copy what the tests read; byte code is taken by the hash of its source, so that a mutant's is never another's."""
    root.mkdir()
    for name in SOURCES:
        source, ignored = ROOT / name, shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(source, root)
    compileall.compile_dir(root / "aigid", quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return root


def wait(running: dict[int, Job]) -> tuple[Job, int]:
    """Return the first job that ends and pytest's exit status."""
    pid, status = os.wait()
    return running.pop(pid), os.waitstatus_to_exitcode(status)


def kill(mutants: list[Mutant], roots: list[Path]) -> Iterator[tuple[Mutant, int]]:
    """Yield each mutant and the exit status of its test, as many at once as there are copies of the sources."""
    running: dict[int, tuple[Mutant, Path, str]] = {}
    waiting = list(reversed(mutants))
    while waiting or running:
        while waiting and roots:
            mutant, root = waiting.pop(), roots.pop()
            text = apply(mutant, root)
            running[start([mutant.test], root)] = (mutant, root, text)
        (mutant, root, text), status = wait(running)
        (root / mutant.file).write_text(text, encoding="utf-8")
        roots.append(root)
        yield mutant, status


def main(words: list[str]) -> None:
    mutants = [mutant for mutant in MUTANTS if not words or any(word in " ".join(mutant) for word in words)]
    os.environ["OMP_NUM_THREADS"], sys.dont_write_bytecode, survivors = "1", True, []
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in LIBRARIES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        roots = [copy_sources(Path(folder, str(number))) for number in range(os.cpu_count() or 1)]
        tests = list(dict.fromkeys(mutant.test for mutant in mutants))
        shares = [(tests[number :: len(roots)], root) for number, root in enumerate(roots)]
        unchanged = {start(share, root): root for share, root in shares if share}
        if (status := max([wait(unchanged)[1] for _ in list(unchanged)])) != PASSED:
            sys.exit(f"the tests do not all pass on the sources as they are (exit status {status})")
        for mutant, status in kill(mutants, roots):
            result = {FAILED: "killed", PASSED: "SURVIVED"}.get(status, f"NOT RUN (exit status {status})")
            print(f"{result}  {mutant.removed}  [{mutant.test.rpartition('/')[2]}]", flush=True)
            survivors += [mutant.removed] if status != FAILED else []
    if survivors:
        sys.exit(f"{len(survivors)} of {len(mutants)} mutants were not killed: {'; '.join(survivors)}")


if __name__ == "__main__":
    main(sys.argv[1:])
