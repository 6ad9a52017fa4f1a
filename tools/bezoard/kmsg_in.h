/* SPDX-License-Identifier: MIT */
/* Between the files of the parser: a piece of text, and numbers in it. */
#ifndef BEZOAR_TOOLS_BEZOARD_KMSG_IN_H
#define BEZOAR_TOOLS_BEZOARD_KMSG_IN_H

#include "kmsg_parse.h"

struct piece_of {
	const char *at, *end;
};

/* Is @word next? Then go behind it. */
int kmsg_word(struct piece_of *p, const char *word);
/* Where @word begins; NULL. */
const char *kmsg_find(struct piece_of p, const char *word);
/* A number, and go behind it. 0: there is none, or it is too large. */
int kmsg_decimal(struct piece_of *p, uint64_t *ret);
int kmsg_hex(struct piece_of *p, uint64_t *ret);
/* What is between, without blanks around, as said->dimm. */
void kmsg_name_dimm(struct kmsg_said *said, const char *from, const char *end);
/* One more line of text. */
void kmsg_add_text(struct kmsg_said *said, struct piece_of text);

/* EDAC's line of one error. */
int kmsg_edac(struct piece_of text, struct kmsg_said *said);
/* "{1}[Hardware Error]: ...": of firmware (APEI), @text begins behind it. */
int kmsg_firmware(struct kmsg *k, uint32_t event, struct piece_of text,
		  const struct kmsg_said *line, struct kmsg_said *ret);
/* "mce: ...", likewise. */
int kmsg_mce(struct kmsg *k, struct piece_of text, struct kmsg_said *line,
	     struct kmsg_said *ret);

#endif
