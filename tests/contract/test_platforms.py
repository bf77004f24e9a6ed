"""The sampler as one program for accelerators, lowered here without having one."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import export

import rdmc_jax as rj

PLATFORMS = ("cuda", "rocm", "tpu")
COMPOSED = rj.rdmc(
    rj.samplers.gaussian_start(num_particles=64),
    rj.samplers.levels(
        rj.diffusion.log_snr_grid(4),
        rj.estimators.chains(
            rj.kernels.mala, begin=rj.estimators.from_all_particles(), num_chains=4, num_steps=2
        ),
        rj.diffusion.moment_matched(),
    ),
    rj.samplers.annealed_finish(num_temperatures=4),
)
PLANS = {
    "default": rj.plan(dim=2),
    "default without a gradient": rj.plan(dim=2, has_gradient=False),
    "composition": rj.plan(dim=2, method=COMPOSED),
}


def density(x):
    return jnp.logaddexp(-0.5 * jnp.sum((x + 4) ** 2), -0.5 * jnp.sum((x - 4) ** 2))


@pytest.mark.parametrize("name", PLANS)
def test_core_is_one_program_for_accelerators(name):
    def run(key_data, position):
        key = jax.random.wrap_key_data(key_data)
        return rj.core(key, density, position, None, plan=PLANS[name])

    shapes = jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((2,), jnp.float32)
    program = export.export(jax.jit(run), platforms=PLATFORMS)(*shapes)
    assert program.platforms == PLATFORMS
    text = program.mlir_module()
    assert "stablehlo.while" in text  # loops are loops, not written out
    # what is not StableHLO is linear algebra of the platform: nothing goes back to the host
    called = set(re.findall(r"custom_call @(\w+)", text))
    known = re.compile(r"cusolver|cublas|cu_|hipsolver|hipblas|hip_|Eigh|LuDecomposition|Qr")
    assert all(known.match(name) for name in called), called
