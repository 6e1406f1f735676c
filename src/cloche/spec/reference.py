"""Names of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, normalised as Docker does.

The grammar is that of the distribution project; it is parsed by hand because `re` would cost every
command more than the parsing of a thousand names.

    busybox                 docker.io/library/busybox:latest
    me/app:1.2              docker.io/me/app:1.2
    localhost:5000/app      localhost:5000/app:latest
    host.example/a@sha256:… host.example/a@sha256:…     (a digest needs no tag)
"""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.spec import digest as digests
from cloche.spec.record import Record

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_OLD_DEFAULT_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_PATH_LIMIT = 255
_TAG_LIMIT = 128

_DIGITS = frozenset("0123456789")
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz") | _DIGITS
_LETTERS = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD = _LETTERS | {"_"}
_TAG = _WORD | {".", "-"}
_HEX = _DIGITS | frozenset("abcdefABCDEF")


class Reference(Record):
    """An image's full name.

    domain: registry host with its port, as written (`docker.io` where none was).
    path: repository on that host, `library/` included.
    tag, digest: empty where there is none; at least one of them is there after `parse`.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The repository with its host, without tag and digest."""
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        return self.name + self._suffix()

    def familiar(self) -> str:
        """The shortest text that `parse` reads back as this reference; what people are shown."""
        name = self.name
        if self.domain == DEFAULT_DOMAIN:
            short = self.path.removeprefix(_OFFICIAL)
            official = self.path.startswith(_OFFICIAL) and "/" not in short
            name = short if official else self.path
            if not official and _split_domain(name)[0] != DEFAULT_DOMAIN:
                name = self.name
        return name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse(text: str) -> Reference:
    """Read a reference as people write it. Raises InvalidArgument with the part that is wrong."""
    if not text:
        raise InvalidArgument("image reference: must not be empty")
    if "://" in text:
        raise InvalidArgument(f"image reference {_shown(text)}: is a web address; leave out all up to '://'")
    rest, at, digest = text.partition("@")
    if at:
        try:
            digest = digests.validate(digest)
        except InvalidArgument as error:
            raise InvalidArgument(f"image reference {_shown(text)}: {error}") from None
    elif len(text) == 64 and set(text) <= _DIGITS | frozenset("abcdef"):
        raise InvalidArgument(f"image reference {_shown(text)}: 64 hexadecimal digits are an id, not a name")
    domain, remainder = _split_domain(rest)
    path, tag = _split_tag(remainder)
    problem = _domain_problem(domain) or _path_problem(path) or (tag is not None and _tag_problem(tag))
    if problem:
        raise InvalidArgument(f"image reference {_shown(text)}: {problem}")
    if tag is None:
        tag = "" if digest else DEFAULT_TAG
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    return Reference(domain, path, tag, digest)


def familiar(text: str) -> str:
    """A reference as people write it; text that is none stays as it is."""
    try:
        return parse(text).familiar()
    except InvalidArgument:
        return text


def _split_domain(text: str) -> tuple[str, str]:
    """The first component is a host only where it could not be the name of a user of the default one."""
    first, slash, rest = text.partition("/")
    looks_like_a_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not looks_like_a_host:
        return DEFAULT_DOMAIN, text
    return DEFAULT_DOMAIN if first == _OLD_DEFAULT_DOMAIN else first, rest


def _split_tag(text: str) -> tuple[str, str | None]:
    path, colon, tag = text.rpartition(":")
    return (path, tag) if colon else (text, None)


def _domain_problem(domain: str) -> str:
    host, colon, port = domain, "", ""
    if domain.startswith("["):
        host, bracket, after = domain[1:].partition("]")
        colon, port = after[:1], after[1:]
        if not bracket or not host or not set(host) <= _HEX | {":"} or colon not in ("", ":"):
            return f"{_shown(domain)} is not a host"
    else:
        host, colon, port = domain.partition(":")
        for label in host.split("."):
            if not label or not set(label) <= _LETTERS | {"-"} or label[0] == "-" or label[-1] == "-":
                return f"{_shown(domain)} is not a host"
    if colon and (not port or not set(port) <= _DIGITS):
        return f"the port of {_shown(domain)} must be a number"
    return ""


def _path_problem(path: str) -> str:
    if len(path) > _PATH_LIMIT:
        return f"the repository must not have more than {_PATH_LIMIT} characters"
    if path != path.lower():
        return f"the repository must be lower case: {_shown(path)}"
    for component in path.split("/"):
        if not _is_path_component(component):
            return (
                f"{_shown(component)} in the repository must be letters and digits, "
                "with one '.', one or two '_' or any number of '-' between them"
            )
    return ""


def _is_path_component(text: str) -> bool:
    separator = ""
    if not text or text[0] not in _LOWER or text[-1] not in _LOWER:
        return False
    for character in text:
        if character not in _LOWER:
            separator += character
        elif separator:
            if separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
    return True


def _tag_problem(tag: str) -> str:
    if not tag or tag[0] not in _WORD or not set(tag) <= _TAG:
        return f"the tag {_shown(tag)} must be letters, digits, '_', '.' and '-', the first no '.' or '-'"
    if len(tag) > _TAG_LIMIT:
        return f"the tag must not have more than {_TAG_LIMIT} characters"
    return ""


def _shown(text: str) -> str:
    """Quoted and bounded: names come from anywhere, messages stay one readable line."""
    return repr(text if len(text) <= 100 else text[:97] + "…")
