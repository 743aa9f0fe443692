"""The wheel holds the package alone, with the shipped studies as its data."""

import setuptools

setuptools.setup(
  packages=[*setuptools.find_packages(include=['dlsteroids*']), 'dlsteroids.configs'],
  package_dir={'dlsteroids.configs': 'configs'},
)
