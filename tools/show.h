/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_SHOW_H
#define BEZOAR_TOOLS_SHOW_H

#include <bezoar/record.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define SHOW_DIMM	128		/* bytes of a module's name that are shown */

/* What a store knows of it. */
struct show_from {
	int64_t number;			/* of its row */
	uint64_t taken_ns;
	int32_t pid;			/* where the store is, as the kernel said */
	uint32_t uid;
	int is_file;			/* uid is whose it is, pid only what the record
					 * says */
	int is_placed;			/* by what the kernel has said: */
	int64_t frame;			/* -1: not known */
	const char *dimm;		/* memory module; "": not known */
};

/* A record on standard output, for people; or as an object of JSON; NULL: there was
 * no memory. @from: NULL, it is of no store. */
void show_text(const struct bez_record *r, const struct show_from *from);
json_t *show_object(const struct bez_record *r, const struct show_from *from);

/* An object in a line of standard output; it is given away. -1: it was NULL, or
 * there was no memory. */
int show_line(json_t *object);
/* Likewise as a string, to be freed; NULL. */
char *show_string(json_t *object);

/* A process that has died of lost memory. */
struct show_death {
	int64_t number;			/* of its row */
	int64_t told;			/* number of the record that tells of it; 0 */
	uint64_t start_ticks;
	int32_t pid;
	uint32_t uid;
	int32_t status;			/* as wait(2) has it; -1: nobody could say */
	const char *comm;
	size_t comm_len;
};
json_t *show_death(const struct show_death *death);

/* Of a record: its boot in hexadecimal, and whether it has one. */
const char *show_boot(const uint8_t id[16], char ret[40]);
int show_knows_boot(const struct bez_record *r);

#endif
