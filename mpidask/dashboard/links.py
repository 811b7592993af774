"""How a dashboard that listens on a node's loopback is reached from elsewhere (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from mpidask import job_environment

__all__ = ["JUPYTER", "NUMBERS", "STANDARD", "configured", "is_of_user", "of_jupyter", "proxied", "tunnel", "ways"]

#: Variables in which batch systems name the host where a job was submitted: a login node.
_LOGIN = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "SGE_O_HOST", "LSB_SUB_HOST", "OAR_HOST")
NUMBERS = "ranks.json"  # the address of the page Ranks' numbers, under the secret
STANDARD = "{scheme}://{host}:{port}/status"  # Dask's own link, where nothing is configured
JUPYTER = "MPIDASK_JUPYTER"  # environment variable of a Jupyter server's kernels: its host, and the path of its pages


def ways(link: str, host: str, environ: Mapping[str, str], template: str | None = None) -> list[tuple[str, str]]:
    """Return the banner's lines, as (label, text): the tunnel to type elsewhere, and the proxy if there is one.

    link:     of the dashboard, as seen on its node
    host:     name of that node
    template: Dask's distributed.dashboard.link; read from the configuration if None
    """
    if template is None:
        import dask.config

        template = str(dask.config.get("distributed.dashboard.link", STANDARD))
    lines = [("", f"from elsewhere: {tunnel(link, host, environ)}")]
    proxy = proxied(link, host, environ, template)
    return lines + ([("", f"by the proxy: {proxy}")] if proxy else [])


def tunnel(link: str, host: str, environ: Mapping[str, str], port: int | None = None) -> str:
    """Return the command that makes a port of one's own computer lead to the dashboard.

    port: on one's own computer; the same one if None
    """
    parts = urlsplit(link)
    user = environ.get("USER") or job_environment.account()
    login = _login(environ, host)
    jump = "" if login is None else f"-J {user}@{login} "
    return f"ssh -N -L {port or parts.port}:{parts.hostname}:{parts.port} {jump}{user}@{host}"


def proxied(link: str, host: str, environ: Mapping[str, str], template: str = STANDARD) -> str | None:
    """Return the dashboard's address behind a site's web proxy; None if none is configured or detected.

    template: as Dask's configuration has it, such as ``/user/{JUPYTERHUB_USER}/proxy/{port}/status``
    Of JupyterHub's own proxy (jupyter-server-proxy) the prefix is in the environment of its servers, and of jobs that
    they submit; it leads to programs beside the server only.
    """
    if is_of_user(template):
        return configured(link, host, environ, template)
    parts = urlsplit(link)
    prefix = environ.get("JUPYTERHUB_PUBLIC_URL") or environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if not prefix or _login(environ, host) is not None:
        return None
    return f"{prefix.rstrip('/')}/proxy/{parts.port}{parts.path}"


def is_of_user(template: str) -> bool:
    """Whether a template of Dask's configuration is the user's: neither Dask's own, nor a link of ours to some port."""
    is_ours = template.startswith("http://127.0.0.1:") and "{" not in template
    return template != STANDARD and not is_ours


def of_jupyter(environ: Mapping[str, str], host: str, parent: int) -> str | None:
    """Return the path of the pages of this process's Jupyter server, None if it has none that can proxy.

    host:   where this process runs: servers proxy what runs beside them
    parent: id of the process that has started this one: kernels are started by their server

    Our server extension says where the server is. Without it, JupyterHub's variables do; jobs inherit them.
    """
    where, _, path = environ.get(JUPYTER, "").partition(" ")
    if path and where == host:
        return path
    is_kernel = environ.get("JPY_PARENT_PID") == str(parent)
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX")
    return prefix if prefix and (is_kernel or _login(environ, host) is None) else None


def configured(link: str, host: str, environ: Mapping[str, str], template: str) -> str | None:
    """Return the link that a template of Dask's configuration makes, None if it names variables that are not set."""
    parts = urlsplit(link)
    known = {**environ, "scheme": parts.scheme, "host": host, "port": str(parts.port)}
    import string

    wanted = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    if not wanted <= known.keys():
        return None
    return template.format(**known).removesuffix("status").rstrip("/") + parts.path


def _login(environ: Mapping[str, str], host: str) -> str | None:
    """Return the login node from which this job on `host` was submitted, None if it is no other one."""
    name = next((environ[name] for name in _LOGIN if environ.get(name)), host)
    return None if name.partition(".")[0] == host.partition(".")[0] else name
