"""Data sets: image tables, drawn lesions, splits, packs, augmentation."""
