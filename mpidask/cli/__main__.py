"""``python -m mpidask.cli``: the command `mpidask` for job scripts, which know only an interpreter."""

if __name__ == "__main__":
    from mpidask.cli import main

    main()
