import pytest

from infra.docker.names import Names
from infra.docker.network import NetworkArgs, checked


@pytest.mark.parametrize("encrypted", [True, False])
def test_encryption_is_decided_when_a_network_is_made(encrypted: object) -> None:
    args = NetworkArgs(names=Names("staging"), encrypted=bool(encrypted))
    swarms_own = {"com.docker.network.driver.overlay.vxlanid_list": "4097"}
    as_asked = swarms_own | ({"encrypted": ""} if encrypted else {})
    otherwise = swarms_own if encrypted else swarms_own | {"encrypted": ""}
    assert checked("id", as_asked, args) == "id"
    with pytest.raises(ValueError, match=r"slipway:network.encrypted cannot change .* \(slipway down staging\)"):
        checked("id", otherwise, args)
