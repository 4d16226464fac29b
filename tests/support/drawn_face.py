"""A face that is drawn with ellipses and soft shadows, which face detectors find."""

from PIL import Image, ImageDraw, ImageFilter

SKIN, SHADOW, HAIR = (224, 172, 138), (176, 120, 92), (52, 34, 24)
LIPS, WHITE, IRIS = (168, 74, 72), (244, 240, 236), (72, 50, 34)
SIZE = 512
PUPILS = (215, 251), (299, 251)


def drawn_face() -> Image.Image:
    """A face from the front in the middle of a picture of 512 x 512 pixels, 200 pixels wide."""
    image = Image.new("RGB", (SIZE, SIZE), (120, 140, 160))
    draw = ImageDraw.Draw(image)
    draw.ellipse((96, 430, 416, 700), fill=(60, 70, 110))  # the shoulders
    draw.rectangle((216, 350, 296, 470), fill=SHADOW)  # the neck
    draw.ellipse((140, 90, 372, 360), fill=HAIR)
    draw.ellipse((156, 130, 356, 400), fill=SKIN)
    image = image.filter(ImageFilter.GaussianBlur(4))
    for left in (186, 270):
        _eye(image, left)
    _nose_and_mouth(image)
    return image.filter(ImageFilter.GaussianBlur(1))


def _eye(image: Image.Image, left: int) -> None:
    _soft(image, (left - 4, 226, left + 60, 274), SHADOW, 7)
    draw = ImageDraw.Draw(image)
    draw.arc((left - 4, 206, left + 60, 260), 200, 340, fill=HAIR, width=8)  # the eyebrow
    draw.ellipse((left + 6, 240, left + 50, 262), fill=WHITE)
    draw.ellipse((left + 18, 239, left + 40, 262), fill=IRIS)
    draw.ellipse((left + 24, 246, left + 34, 256), fill=(10, 8, 8))
    draw.arc((left + 4, 236, left + 52, 268), 190, 350, fill=HAIR, width=4)


def _nose_and_mouth(image: Image.Image) -> None:
    _soft(image, (236, 250, 250, 312), SHADOW, 6)
    _soft(image, (234, 300, 278, 320), SHADOW, 5)
    draw = ImageDraw.Draw(image)
    draw.ellipse((240, 306, 250, 314), fill=(90, 50, 40))
    draw.ellipse((262, 306, 272, 314), fill=(90, 50, 40))
    draw.ellipse((218, 336, 294, 368), fill=LIPS)
    draw.line((220, 351, 256, 354, 292, 351), fill=(90, 30, 34), width=4)
    _soft(image, (230, 372, 282, 380), SHADOW, 5)


def _soft(
    image: Image.Image, box: tuple[int, int, int, int], colour: tuple[int, int, int], blur: int
) -> None:
    """Paint a soft ellipse."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse(box, fill=170)
    image.paste(colour, mask=mask.filter(ImageFilter.GaussianBlur(blur)))
