/* SPDX-License-Identifier: MIT */
/*
 * The parts of the page. It is well-formed as XML, too, so that a test can read it
 * strictly. All text goes through html_text(): what is between tags, or in quotes,
 * can begin none.
 *
 * A picture is one image to who does not see it, with title and description; its
 * numbers are in the table beside it. Kinds differ by pattern and by words in
 * the legend, and then by colour.
 */
#ifndef BEZOAR_TOOLS_REPORT_PICTURES_H
#define BEZOAR_TOOLS_REPORT_PICTURES_H

#include "report.h"

#define PICTURE_WIDTH 720

void html_text(FILE *to, const char *text);
void html_when(FILE *to, int64_t ns);
/* " ns", " us", " ms" or " s"; at most three digits and a part of them. */
const char *html_span(uint64_t ns, char ret[32]);

/* A section with a heading, up to the picture. @id is of our own. */
void section_begin(FILE *to, const char *id, const char *title,
		   const char *text);
void section_end(FILE *to);
/* For a section that has nothing to show. */
void section_empty(FILE *to, const char *id, const char *title,
		   const char *text);

/* An image in it, of the section's title; the rest is its description. */
void picture_begin(FILE *to, const char *id, const char *title,
		   unsigned int height, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void picture_end(FILE *to);
/* The patterns, once in a page; and what they stand for. */
void picture_patterns(FILE *to);
void picture_legend(FILE *to, unsigned int y);
/* Numbers of the axis: 0, half, all of *@top, which becomes a round one. */
void picture_grid(FILE *to, uint64_t *top, unsigned int left, unsigned int y0,
		  unsigned int height);

/* @heads: of its columns, a NULL behind them; of text, and not of numbers, if they
 * begin with a blank. */
void table_begin(FILE *to, const char *id, const char *caption,
		 const char *const *heads);
void table_end(FILE *to);
void cell_number(FILE *to, uint64_t n);
void cell_when(FILE *to, int64_t ns);
void cell_text(FILE *to, const char *text);
void cell_fates(FILE *to, const uint64_t n[FATES], int count);

/* The sections. */
void draw_timeline(FILE *to, const struct report *r);
void draw_times(FILE *to, const struct report *r);
void draw_outcomes(FILE *to, const struct report *r);
void draw_regions(FILE *to, const struct report *r);
void draw_frames(FILE *to, const struct report *r);
void draw_modules(FILE *to, const struct report *r);
void draw_kernel(FILE *to, const struct report *r);
void draw_deaths(FILE *to, const struct report *r);
void write_explanations(FILE *to, const struct report *r);

extern const char report_style[];

#endif
