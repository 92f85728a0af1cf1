// A layer whose meaning is all in its headers still is a library, so that it has an archive to install.
