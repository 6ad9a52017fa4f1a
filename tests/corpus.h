/* SPDX-License-Identifier: MIT */
/*
 * What fuzzers have found worth keeping, as files of a folder, and a source of chance
 * for what a test makes of them. A failure ends the case.
 */
#ifndef BEZOAR_TESTS_CORPUS_H
#define BEZOAR_TESTS_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#define CORPUS_FILES	512

struct corpus_file {
	uint8_t *bytes;		/* as many as corpus_load() was told; zeros behind */
	size_t len;		/* of the file */
	char name[64];
};

struct corpus {
	struct corpus_file file[CORPUS_FILES];
	size_t count;
};

/*
 * Add the files of @folder, by name, so that a seed makes the same of them anywhere:
 * @least at least, of @most bytes at most. Kept until the process ends.
 */
void corpus_load(struct corpus *c, const char *folder, size_t least,
		 size_t most);

/* The file of that name. */
const struct corpus_file *corpus_find(const struct corpus *c,
				      const char *name);

/* A number below @below, or 0 of 0. $TAP_SEED has it begin elsewhere. */
uint64_t corpus_draw(uint64_t below);

#endif
