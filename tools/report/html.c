/* SPDX-License-Identifier: MIT */
/* What all sections are made of. */
#include "pictures.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "../when.h"

void html_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '&')
			fputs("&amp;", to);
		else if (c == '<')
			fputs("&lt;", to);
		else if (c == '>')
			fputs("&gt;", to);
		else if (c == '"')
			fputs("&quot;", to);
		else if (c == '\'')
			fputs("&#39;", to);
		else if (c >= ' ' && c <= '~')
			putc(c, to);
		else
			fprintf(to, "\\x%02x", c);
	}
}

void html_when(FILE *to, int64_t ns)
{
	char text[WHEN_ROOM];

	when_s(ns, text);
	fprintf(to, "<time datetime=\"%s\">%s</time>", text, text);
}

const char *html_span(uint64_t ns, char ret[32])
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	uint64_t unit = 1;
	int i = 0;

	while (i < 3 && ns / unit >= 1000) {
		unit *= 1000;
		i++;
	}
	/* by hand: some locales have a comma */
	if (ns % unit && ns / unit < 10)
		snprintf(ret, 32, "%" PRIu64 ".%u %s", ns / unit,
			 (unsigned int)(ns % unit * 10 / unit), units[i]);
	else
		snprintf(ret, 32, "%" PRIu64 " %s", ns / unit, units[i]);
	return ret;
}

/* ------------------------------------------------------------------ sections */

static void heading(FILE *to, const char *id, const char *title,
		    const char *text)
{
	fprintf(to, "<section id=\"%s\" aria-labelledby=\"%s-h\">\n"
		"<h2 id=\"%s-h\">", id, id, id);
	html_text(to, title);
	fputs("</h2>\n<p>", to);
	html_text(to, text);
	fputs("</p>\n", to);
}

void section_begin(FILE *to, const char *id, const char *title,
		   const char *text)
{
	heading(to, id, title, text);
	fputs("<div class=\"pair\">\n", to);
}

void section_end(FILE *to)
{
	fputs("</div>\n</section>\n", to);
}

void section_empty(FILE *to, const char *id, const char *title,
		   const char *text)
{
	heading(to, id, title, text);
	fputs("</section>\n", to);
}

/* ------------------------------------------------------------------ pictures */

void picture_begin(FILE *to, const char *id, const char *title,
		   unsigned int height, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(to, "<figure><svg viewBox=\"0 0 %d %u\" role=\"img\" "
		"aria-labelledby=\"%s-t %s-d\">\n<title id=\"%s-t\">",
		PICTURE_WIDTH, height, id, id, id);
	html_text(to, title);
	fprintf(to, "</title>\n<desc id=\"%s-d\">", id);
	html_text(to, text);
	fputs("</desc>\n", to);
}

void picture_end(FILE *to)
{
	fputs("</svg></figure>\n", to);
}

/* Lines and dots in the colour of the paper, over the fate's own. */
void picture_patterns(FILE *to)
{
	static const char *const marks[FATES] = {
		[FATE_WHOLE] = "",
		[FATE_WITHOUT] = "<path d=\"M-2 2L2 -2M0 8L8 0M6 10L10 6\"/>",
		[FATE_ENDED] = "<circle cx=\"4\" cy=\"4\" r=\"1.7\"/>",
		[FATE_PASSED] = "<path d=\"M0 0L8 8M8 0L0 8\"/>",
		[FATE_OTHER] = "<path d=\"M0 4H8\"/>",
	};
	int i;

	fputs("<defs>\n", to);
	for (i = 0; i < FATES; i++)
		fprintf(to, "<pattern id=\"pattern%d\" width=\"8\" height=\"8\" "
			"patternUnits=\"userSpaceOnUse\"><rect width=\"8\" "
			"height=\"8\" class=\"c%d\"/>%s</pattern>\n", i, i,
			marks[i]);
	fputs("</defs>\n", to);
}

void picture_legend(FILE *to, unsigned int y)
{
	int i, x = 0;

	for (i = 0; i < FATES; i++) {
		fprintf(to, "<rect x=\"%d\" y=\"%u\" width=\"20\" height=\"14\" "
			"class=\"f%d\"/><text x=\"%d\" y=\"%u\">", x + 1, y, i,
			x + 27, y + 12);
		html_text(to, fate_words[i].name);
		fputs("</text>\n", to);
		/* as wide as letters may be, and a gap */
		x += 48 + 7 * (int)strlen(fate_words[i].name);
	}
}

/* 1, 2, 4, 10, 20, 40 ...: halves of them are whole, but for 1 */
static uint64_t round_up(uint64_t n)
{
	uint64_t top = 1;

	while (top < n && top < UINT64_MAX / 10) {
		if (top * 2 >= n)
			return top * 2;
		if (top * 4 >= n)
			return top * 4;
		top *= 10;
	}
	return top;
}

void picture_grid(FILE *to, uint64_t *top, unsigned int left, unsigned int y0,
		  unsigned int height)
{
	unsigned int i, steps;

	*top = round_up(*top);
	steps = *top > 1 ? 2 : 1;
	for (i = 0; i <= steps; i++) {
		unsigned int y = y0 + height - height * i / steps;

		fprintf(to, "<path class=\"grid\" d=\"M%u %uH%d\"/><text "
			"class=\"end\" x=\"%u\" y=\"%u\">%" PRIu64 "</text>\n",
			left, y, PICTURE_WIDTH, left - 6, y + 4,
			*top / steps * i);
	}
}

/* -------------------------------------------------------------------- tables */

void table_begin(FILE *to, const char *id, const char *caption,
		 const char *const *heads)
{
	fprintf(to, "<div class=\"table\" tabindex=\"0\" role=\"region\" "
		"aria-labelledby=\"%s-c\"><table>\n<caption id=\"%s-c\">", id,
		id);
	html_text(to, caption);
	fputs("</caption>\n<thead><tr>", to);
	for (; *heads; heads++) {
		const int text = **heads == ' ';

		fprintf(to, "<th scope=\"col\"%s>", text ? "" : " class=\"n\"");
		html_text(to, *heads + text);
		fputs("</th>", to);
	}
	fputs("</tr></thead>\n<tbody>\n", to);
}

void table_end(FILE *to)
{
	fputs("</tbody></table></div>\n", to);
}

void cell_number(FILE *to, uint64_t n)
{
	fprintf(to, "<td class=\"n\">%" PRIu64 "</td>", n);
}

void cell_when(FILE *to, int64_t ns)
{
	fputs("<td>", to);
	if (ns)
		html_when(to, ns);
	fputs("</td>", to);
}

void cell_text(FILE *to, const char *text)
{
	fputs("<td>", to);
	html_text(to, text);
	fputs("</td>", to);
}

void cell_fates(FILE *to, const uint64_t n[FATES], int count)
{
	int i;

	for (i = 0; i < count; i++)
		cell_number(to, n[i]);
}
