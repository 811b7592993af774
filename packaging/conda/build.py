"""Build the conda packages of this clone: python packaging/conda/build.py."""

from pathlib import Path

from rattler_build import Stage0Recipe, VariantConfig

HERE = Path(__file__).parent


def main() -> None:
    """Build one package for each MPI of variants.yaml."""
    recipe = Stage0Recipe.from_file(str(HERE / "recipe.yaml"))
    for variant in recipe.render(VariantConfig.from_file(str(HERE / "variants.yaml"))):
        print(variant.run_build())


if __name__ == "__main__":
    main()
