"""What options hold and commands print."""


def listed(text: str) -> tuple[str, ...]:
    """Return the names of a list such as ``heart,esophagus``, each once.

    >>> listed("heart, esophagus,,heart")
    ('heart', 'esophagus')
    """
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def as_json_text(content: object) -> str:
    """Return a record as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
