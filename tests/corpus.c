/* SPDX-License-Identifier: MIT */
#include "corpus.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

static void load_one(struct corpus_file *to, const char *folder,
		     const char *name, size_t most)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	CHECKF(f, "%s", path);
	snprintf(to->name, sizeof(to->name), "%.63s", name);
	to->bytes = calloc(1, most);
	CHECK(to->bytes);
	to->len = fread(to->bytes, 1, most, f);
	CHECKF(fgetc(f) == EOF, "%s is longer than %zu bytes", path, most);
	fclose(f);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct corpus_file *)a)->name,
		      ((const struct corpus_file *)b)->name);
}

void corpus_load(struct corpus *c, const char *folder, size_t least,
		 size_t most)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t first = c->count;

	CHECKF(dir, "%s", folder);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		CHECK(c->count < CORPUS_FILES);
		load_one(&c->file[c->count++], folder, entry->d_name, most);
	}
	closedir(dir);
	CHECKF(c->count - first >= least, "%zu files in %s", c->count - first,
	       folder);
	qsort(c->file, c->count, sizeof(*c->file), by_name);
}

const struct corpus_file *corpus_find(const struct corpus *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->count; i++)
		if (!strcmp(c->file[i].name, name))
			return &c->file[i];
	CHECKF(0, "%s is not in the corpus", name);
	return NULL;
}

/* xorshift */
uint64_t corpus_draw(uint64_t below)
{
	static uint64_t state;

	if (!state) {
		const char *seed = getenv("TAP_SEED");

		state = seed ? strtoull(seed, NULL, 0) | 1 :
			       88172645463325252u;
	}
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : 0;
}
