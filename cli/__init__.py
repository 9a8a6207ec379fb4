"""The command line of geosoil; installed as geosoil_cli."""
