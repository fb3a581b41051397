#!/usr/bin/env bash
#SBATCH --job-name=aigid
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#
#   sbatch examples/slurm.sh MANIFEST ROOT BACKBONE
#
# Sixteen independent tasks fill the row cache, which lies in a folder that all nodes see, or in a bucket. A task that is
# killed or times out is submitted again and goes on where it was. Afterwards
# `aigid extract MANIFEST --root ROOT --backbone BACKBONE --out FILE`, or `dvc repro`, finds every row there.
set -euo pipefail
: "${AIGID_ROWS:-${AIGID_CACHE:?name a folder that all nodes share, or a bucket by AIGID_ROWS}}"

srun aigid extract "$1" --root "$2" --backbone "$3" --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
