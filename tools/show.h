/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_SHOW_H
#define BEZOAR_TOOLS_SHOW_H

#include <bezoar/record.h>
#include <stddef.h>
#include <stdint.h>

/* What a store knows of it. */
struct show_from {
	int64_t number;			/* of its row */
	uint64_t taken_ns;
	int32_t pid;			/* where the store is, as the kernel said */
	uint32_t uid;
	int is_file;			/* uid is whose it is, pid only what the record
					 * says */
};

/* A record on standard output, for people; or as an object of JSON in one line:
 * then 0, or -1 if there was no memory. @from: NULL, it is of no store. */
void show_text(const struct bez_record *r, const struct show_from *from);
int show_json(const struct bez_record *r, const struct show_from *from);
/* The same object as a string, to be freed; NULL: no memory. */
char *show_json_text(const struct bez_record *r, const struct show_from *from);
/* Likewise of a death, @status as wait(2) has it or -1; @told: number of the record
 * that tells of it, or 0. */
char *show_death_json(int64_t number, int32_t pid, uint32_t uid,
		      uint64_t start_ticks, const char *comm, size_t comm_len,
		      int32_t status, int64_t told);

#endif
