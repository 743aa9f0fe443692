"""Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28×28 (Xiao et al. 2017)."""

from collections.abc import Mapping
from typing import Any

from dlsteroids import types
from dlsteroids.config import options
from dlsteroids.data.lib import idx, images, source

OPTIONS = {**source.OPTIONS, **images.OPTIONS}
PUBLISHED = idx.Published(
  address='http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/',
  packed=(
    '8d4fb7e6c68d591d4c3dfef9ec88bf0d',
    '25c81989df183df01b3e8a0aad5dffbe',
    'bef4ecab320f06d8554ea6380940ec79',
    'bb300cfdad3c16e7a12a480ee83cd310',
  ),
  unpacked=(),  # not published: only the `.gz` files can be recognised
  classes=(
    *('T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat'),
    *('Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'),
  ),
)


def load(config: Mapping[str, Any]) -> types.Dataset:
  """Fashion-MNIST as [70000, 28, 28, 1], or own files in its format.

  Raises:
    UserError: files missing or damaged, or an option out of range.
  """
  return idx.load('fashion_mnist', PUBLISHED, options.complete(config, OPTIONS, 'data'))
