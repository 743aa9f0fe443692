"""The room `run`; called, it is `dlsteroids.api.run`."""

from dlsteroids.util import callable_package

callable_package.make(__name__)
