"""What Schemathesis sends as a picture: `format: binary` is any bytes, but only a picture file is a good request."""

import schemathesis
from hypothesis import strategies

from tests.deploy.running import picture

FILES = strategies.sampled_from(
    [picture(), picture((200, 30, 60), "JPEG", quality=60), picture((0, 0, 0), "WEBP"), picture((9, 200, 9), "BMP")]
)
for kind in ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"):
    schemathesis.openapi.media_type(kind, FILES)
