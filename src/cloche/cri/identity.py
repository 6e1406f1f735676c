"""Who a container's first process is: numbers from what the kubelet and the image say."""

from __future__ import annotations

from cloche.errors import InvalidArgument
from cloche.kernel import passwd
from cloche.kernel.passwd import Identity
from cloche.wire.messages.cri.containers import LinuxContainerSecurityContext
from cloche.wire.messages.cri.values import STRICT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloche.spec.image_config import ImageConfig
    from cloche.wire.messages.cri.containers import ContainerConfig


def identify(root: int, config: ContainerConfig, image: ImageConfig) -> Identity:
    """Look it up in the container's own files. root: a descriptor of its root directory.

    With the policy Merge it has the groups that its image gives the user beside those that are asked for,
    with Strict only the latter. Raises InvalidArgument and NotFound for users that cannot be.
    """
    security = (config.linux.security_context if config.linux else None) or LinuxContainerSecurityContext()
    text = _user_text(security)
    found = passwd.lookup(root, text or image.user)
    groups = list(security.supplemental_groups)
    if any(not 0 <= gid <= passwd.LAST_ID for gid in groups):
        raise InvalidArgument(f"supplemental_groups: numbers are from 0 to {passwd.LAST_ID}")
    if security.supplemental_groups_policy != STRICT:
        listed = passwd.parse_group(passwd.read(root, "/etc/group"))
        groups = [*groups, *(group.gid for group in listed if found.name and found.name in group.members)]
    return found.replace(additional_gids=tuple(dict.fromkeys(groups)))


def _user_text(security: LinuxContainerSecurityContext) -> str:
    """USER[:GROUP] as asked; "" where the image decides. Raises InvalidArgument."""
    user = security.run_as_username
    if not user and security.run_as_user is not None:
        user = str(security.run_as_user.value)
    if security.run_as_group is None:
        return user
    if not user:
        raise InvalidArgument("run_as_group: a group needs a user")
    return f"{user.partition(':')[0]}:{security.run_as_group.value}"
