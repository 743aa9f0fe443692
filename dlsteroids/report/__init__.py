"""The room `report`; called, it is `dlsteroids.api.report`."""

from dlsteroids.util import callable_package

callable_package.make(__name__)
