/*-------------------------------------------------------------------------
 *
 * wire_layout.c
 *		How the rows of a table lie in memory.
 *
 * Pure: looks at a descriptor and at nothing else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/wire.h"

#include "common/hashfn.h"

/*
 * A number that differs where a tuple of the one layout would be misread
 * under the other.
 */
uint64
plinth_wire_layout(TupleDesc desc)
{
	uint64 hash = desc->natts;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		int32 column[] = {
			attribute->attisdropped ? 0 : (int32) attribute->atttypid,
			attribute->attlen,
			attribute->attalign,
			attribute->attbyval,
			attribute->attisdropped,
		};

		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) column,
												sizeof(column), hash));
	}
	return hash;
}
