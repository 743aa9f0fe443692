"""stub"""
import jax
def put(tree, sharding):
  return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda at, x=x: x[at]), tree)
