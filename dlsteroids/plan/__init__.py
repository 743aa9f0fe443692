"""The room `plan`; called, it is `dlsteroids.api.plan`."""

from dlsteroids.util import callable_package

callable_package.make(__name__)
