"""OCC-CLIP (Liu et al., ECCV 2024), NYCU's other baseline: prompts learnt for each generator against photographs."""
