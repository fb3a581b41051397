"""SEF (arXiv 2605.14486): a LoRA expert for each domain of aligned fakes, fused by a gate; after DDA, its ancestor."""
