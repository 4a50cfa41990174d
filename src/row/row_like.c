/*-------------------------------------------------------------------------
 *
 * row_like.c
 *		A user's text as a LIKE pattern that matches only itself.
 *
 * Every server encoding keeps ASCII bytes out of longer characters, so the
 * three special characters can be looked for byte by byte.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "row/row.h"

#include "fmgr.h"
#include "utils/memutils.h"

#include "base/compat.h"

/*
 * plinth.escape_like(pattern text) -> text
 *
 * Put a backslash before each backslash, percent sign and underscore.
 *
 * Errors: 54000 the result would be longer than a text may be.
 */
PG_FUNCTION_INFO_V1(plinth_sql_row_escape_like);
Datum
plinth_sql_row_escape_like(PG_FUNCTION_ARGS)
{
	text *source = PG_GETARG_TEXT_PP(0);
	Size size = VARSIZE_ANY_EXHDR(source);
	text *target;

	if (size > (MaxAllocSize - VARHDRSZ) / 2)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("text is too long to escape for LIKE"),
						errdetail("It has %zu bytes; the limit is %zu.", size,
								  (Size) (MaxAllocSize - VARHDRSZ) / 2)));

	target = palloc(VARHDRSZ + 2 * size);
	size = plinth_row_escape_like(VARDATA_ANY(source), size, VARDATA(target));
	SET_VARSIZE(target, VARHDRSZ + size);

	PG_RETURN_TEXT_P(target);
}

/*
 * The same over bytes; see row.h.
 */
Size
plinth_row_escape_like(const char *source, Size size, char *target)
{
	char *end = target;

	for (Size i = 0; i < size; i++)
	{
		if (source[i] == '\\' || source[i] == '%' || source[i] == '_')
			*end++ = '\\';
		*end++ = source[i];
	}

	return end - target;
}
