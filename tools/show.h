/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_SHOW_H
#define BEZOAR_TOOLS_SHOW_H

#include <bezoar/record.h>
#include <jansson.h>

/* What a store knows of it. */
struct show_from {
	int64_t number;			/* of its row */
	uint64_t taken_ns;
	int32_t pid;			/* where the store is, as the kernel said */
	uint32_t uid;
	int is_file;			/* uid is whose it is, pid only what the record
					 * says */
};

/* A record on standard output, for people; or as an object of JSON; NULL: there was
 * no memory. @from: NULL, it is of no store. */
void show_text(const struct bez_record *r, const struct show_from *from);
json_t *show_object(const struct bez_record *r, const struct show_from *from);

/* An object in a line of standard output; it is given away. -1: it was NULL, or
 * there was no memory. */
int show_line(json_t *object);

#endif
