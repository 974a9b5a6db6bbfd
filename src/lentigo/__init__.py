"""lentigo: CNN classifiers of skin-lesion images that one can believe. Research software, not a medical device."""

__version__ = "0.1.0"
