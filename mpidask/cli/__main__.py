"""``python -m mpidask.cli``: the command `mpidask`, for job scripts that know an interpreter but no console scripts."""

if __name__ == "__main__":
    from mpidask.cli import main

    main()
