"""Pretrained networks for another task or another size, as `ng.transfer`."""

__all__: list[str] = []
