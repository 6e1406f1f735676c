"""Names of containers, given or found, and their ids."""

from __future__ import annotations

import os

from cloche.errors import InvalidArgument

_HOW = """
airy ample amber basking bold breezy bright brisk calm candid clear clever cosy crisp curious dapper
dewy drifting eager early earnest easy fair fearless fond fresh frosty gentle glad gleaming golden
grand hale happy hardy hazy hearty honest humble jolly keen kind late leafy light lively lofty lucid
lush mellow merry mild misty modest neat nimble noble patient plucky proud quick quiet rapid ready
regal rosy rustic sage serene sharp shy silent silver sleepy slender snug sober spry steady still
stout sunny sure swift tall tender thrifty tidy upright vivid warm wild windy wise witty young zesty
"""
_WHAT = """
acacia alder almond anemone apple apricot ash aspen aster azalea balsam bamboo barley basil bay beech
begonia birch bluebell borage bramble broom buttercup camellia cedar cherry chestnut chicory clover
columbine cornflower cowslip crocus cypress daffodil dahlia daisy elder elm fennel fern fig flax
foxglove fuchsia gentian ginkgo gorse hawthorn hazel heather holly honesty hyacinth iris ivy jasmine
juniper larch laurel lavender lilac lily linden lotus lupin magnolia maple marigold medlar mint moss
mulberry myrtle nettle oak oleander olive orchid palm pansy peony pine plum poplar poppy primrose
quince reed rose rosemary rowan rush saffron sorrel spruce sunflower tansy thistle thyme tulip
verbena vetch violet walnut willow wisteria yarrow yew zinnia
"""


def new_id() -> str:
    """64 random hexadecimal digits. Docker asks for one letter at least in the short form."""
    while True:
        text = os.urandom(32).hex()
        if not text[:12].isdigit():
            return text


def new_name(attempt: int = 0) -> str:
    """A name such as `quiet_rowan`; from the second attempt on with a number, as names may be taken."""
    adjectives, nouns = _HOW.split(), _WHAT.split()
    number = int.from_bytes(os.urandom(8), "big")
    number, first = divmod(number, len(adjectives))
    number, second = divmod(number, len(nouns))
    return f"{adjectives[first]}_{nouns[second]}" + (str(number % 10**attempt) if attempt else "")


def is_hexadecimal(text: str) -> bool:
    """Whether text could be (the beginning of) an id."""
    return 0 < len(text) <= 64 and not text.strip("0123456789abcdef")


def validate_name(name: str) -> str:
    """Docker's rule for names of containers; a slash before them is left out. Raises InvalidArgument."""
    name = name.removeprefix("/")
    rest = name.translate({ord(mark): None for mark in "_.-"})
    if len(name) < 2 or not name.isascii() or not name[0].isalnum() or not rest.isalnum() or len(name) > 255:
        raise InvalidArgument(
            f"invalid container name {name!r}: only letters, digits and _ . - are allowed, two at least, "
            "the first a letter or a digit"
        )
    return name
