"""Dockerfile instructions on an image's config."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.errors import InvalidArgument
from cloche.image.instructions import change
from cloche.spec.image_config import ImageConfig


def changed(*texts: str) -> dict[str, Any]:
    process: dict[str, Any] = {}
    for text in texts:
        change(process, text)
    return process


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD echo $HOME"], {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        (["CMD []"], {"Cmd": []}),
        (["CMD [ -f x ]"], {"Cmd": ["/bin/sh", "-c", "[ -f x ]"]}),
        (['entrypoint ["/init"]'], {"Entrypoint": ["/init"]}),
        (['ENV A=1 B="2 3"', "ENV A=4", "ENV C a b"], {"Env": ["A=4", "B=2 3", "C=a b"]}),
        (["LABEL a=b", 'LABEL "c d"=e'], {"Labels": {"a": "b", "c d": "e"}}),
        (
            ["EXPOSE 80 53/udp 9-10"],
            {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9/tcp": {}, "10/tcp": {}}},
        ),
        (["WORKDIR /a", "WORKDIR b"], {"WorkingDir": "/a/b"}),
        (["USER 1:2", "STOPSIGNAL SIGINT"], {"User": "1:2", "StopSignal": "SIGINT"}),
        (["VOLUME /a /b", 'VOLUME ["/c d"]'], {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
        (["ONBUILD RUN x"], {"OnBuild": ["RUN x"]}),
    ],
)
def test_instructions_mean_what_they_mean_in_a_dockerfile(texts: list[str], expected: dict[str, Any]) -> None:
    assert changed(*texts) == expected


@pytest.mark.parametrize(
    "text",
    ["", "CMD", "RUN make", "ENV =x", "ENV A", "ENV A=1 B", "EXPOSE x", "EXPOSE 0", "EXPOSE 70000",
     "EXPOSE 9-3", "EXPOSE 80/icmp", "LABEL a='b", 'VOLUME ["", "/a"]', "USER a\0b"],
)  # fmt: skip
def test_what_is_no_instruction_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid change"):
        changed(text)


@given(
    st.text()
    | st.tuples(st.sampled_from(["CMD", "ENV", "EXPOSE", "LABEL", "VOLUME"]), st.text()).map(" ".join)
)
def test_any_text_is_refused_or_gives_a_config_that_can_be_read(text: str) -> None:
    try:
        process = changed(text)
    except InvalidArgument:
        return
    ImageConfig.parse(json.dumps({"config": process}).encode("utf-8", "surrogatepass"))
