// SPDX-License-Identifier: Apache-2.0
// A layer whose meaning is all in its headers still is a library, so that it has an archive to install.
