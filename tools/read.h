/* SPDX-License-Identifier: MIT */
/*
 * Records out of a row of bytes, whatever else is in it: torn ones, damaged ones,
 * some of a version to come, anything. Everything is said, and what is whole
 * is found again behind it.
 */
#ifndef BEZOAR_TOOLS_READ_H
#define BEZOAR_TOOLS_READ_H

#include <bezoar/record.h>
#include <stddef.h>

enum piece_kind {
	PIECE_RECORD,		/* whole, its digest is right */
	PIECE_STRANGE,		/* likewise, but of another version */
	PIECE_DAMAGED,		/* begins as one, and is not what was written */
	PIECE_TORN,		/* likewise, and is cut off by the end */
	PIECE_OTHER		/* does not even begin as one */
};

struct piece {
	enum piece_kind kind;
	uint16_t version;	/* STRANGE */
	struct bez_record record; /* RECORD */
};

/* As many bytes are enough to decide about any piece. */
#define PIECE_ENOUGH (BEZ_RECORD_MOST + 8)

/*
 * The first piece of the @len bytes at @bytes; @end: nothing comes after them.
 * Returns how many of them it is, or 0: there are none, or it takes more bytes to
 * tell. What it is does not depend on how many there are at once, but that
 * OTHER may come in parts.
 */
size_t piece_first(const unsigned char *bytes, size_t len, int end,
		   struct piece *ret_piece);

#endif
