/* SPDX-License-Identifier: MIT */
/*
 * A folder of files that processes have appended records to, be it that they
 * live or not. Each record is taken once; how far a file was read is kept in the
 * store. The files themselves are left alone.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_FILES_H
#define BEZOAR_TOOLS_BEZOARD_FILES_H

#include "batch.h"

struct files {
	const char *path;		/* NULL: none */
	int folder, notify;		/* descriptors */
	uint64_t due_ns;		/* when to look, of clock_now(); 0: nothing is
					 * new */
	unsigned char bytes[65536];
};

/* Before anything is opened: a folder of files that holds the store would have that
 * read as records, and each commit noticed. -1: it does, which was said. */
int files_check(const char *path, const char *store);
/* -1: it was said why not. */
int files_open(struct files *f, const char *path);
void files_close(struct files *f);

/* f->notify can be read: something in the folder has changed. */
void files_changed(struct files *f);

/* Take some of what is new, and set f->due_ns for the rest. */
void files_turn(struct files *f, struct batch *b);

#endif
