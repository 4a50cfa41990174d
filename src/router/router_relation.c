/*-------------------------------------------------------------------------
 *
 * router_relation.c
 *		May a table be followed at all, and what of it may a role read?
 *
 * Looks at the catalogs by the caches alone, without a lock on the table, so
 * that a client's lock never makes the stream wait; an invalidation has all
 * of it looked at again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"

static bool check_relation(Relation rel, RouterProblem *problem);
static bool read_publication(Relation rel, RouterRoute *route,
							 RouterProblem *problem);
static Oid find_shown_as(Relation rel, const Publication *publication);
static bool check_identity(Relation rel, RouterProblem *problem);
static bool read_rights(Relation rel, Oid role, RouterRoute *route,
						RouterProblem *problem);

/*
 * Read all of a route that does not depend on policies.
 */
bool
plinth_router_read_relation(Relation rel, Oid role, RouterRoute *route,
							RouterProblem *problem)
{
	return check_relation(rel, problem) &&
		   read_publication(rel, route, problem) &&
		   check_identity(rel, problem) &&
		   read_rights(rel, role, route, problem);
}

/*
 * Is it a kind of table whose changes can be followed?
 */
static bool
check_relation(Relation rel, RouterProblem *problem)
{
	if (rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return true;

	return plinth_router_refuse(problem, ERRCODE_FEATURE_NOT_SUPPORTED,
								psprintf("cannot follow the changes of \"%s\"",
										 plinth_router_table_name(rel)),
								"It is neither a table nor a partitioned table.",
								NULL);
}

/*
 * Is it published, and what of it?
 */
static bool
read_publication(Relation rel, RouterRoute *route, RouterProblem *problem)
{
	Publication *publication = GetPublicationByName(PLINTH_PUBLICATION, true);
	Oid relid = RelationGetRelid(rel);
	Oid shown_as = InvalidOid;
	HeapTuple tuple;

	if (publication != NULL)
		shown_as = find_shown_as(rel, publication);
	if (!OidIsValid(shown_as))
		return plinth_router_refuse(
			problem, ERRCODE_INVALID_PARAMETER_VALUE,
			psprintf("table \"%s\" is not published",
					 plinth_router_table_name(rel)),
			psprintf("It is not in the publication \"%s\".", PLINTH_PUBLICATION),
			psprintf("ALTER PUBLICATION %s ADD TABLE %s;", PLINTH_PUBLICATION,
					 plinth_router_table_name(rel)));
	if (shown_as != relid)
		return plinth_router_refuse(
			problem, ERRCODE_INVALID_PARAMETER_VALUE,
			psprintf("cannot follow the changes of \"%s\"",
					 plinth_router_table_name(rel)),
			psprintf("The publication \"%s\" shows them as those of the "
					 "partitioned table \"%s\".",
					 PLINTH_PUBLICATION, get_rel_name(shown_as)),
			"Follow that table.");
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		!publication->pubviaroot)
		return plinth_router_refuse(
			problem, ERRCODE_INVALID_PARAMETER_VALUE,
			psprintf("cannot follow the changes of \"%s\"",
					 plinth_router_table_name(rel)),
			psprintf("The publication \"%s\" shows them as those of its "
					 "partitions.",
					 PLINTH_PUBLICATION),
			psprintf("Follow the partitions, or ALTER PUBLICATION %s SET "
					 "(publish_via_partition_root = true);",
					 PLINTH_PUBLICATION));

	if (publication->pubactions.pubinsert)
		route->events |= ROUTER_EVENT_INSERT;
	if (publication->pubactions.pubupdate)
		route->events |= ROUTER_EVENT_UPDATE;
	if (publication->pubactions.pubdelete)
		route->events |= ROUTER_EVENT_DELETE;
	route->truncate = publication->pubactions.pubtruncate;

	tuple = SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
							ObjectIdGetDatum(publication->oid));
	if (HeapTupleIsValid(tuple))
	{
		bool no_columns;
		Datum columns =
			SysCacheGetAttr(PUBLICATIONRELMAP, tuple,
							Anum_pg_publication_rel_prattrs, &no_columns);

		if (!no_columns)
			route->readable =
				pub_collist_to_bitmapset(NULL, columns, CurrentMemoryContext);
		ReleaseSysCache(tuple);
	}
	return true;
}

/*
 * The table as whose the publication shows a table's changes: itself, or a
 * partitioned table above it; InvalidOid when they are not published.
 */
static Oid
find_shown_as(Relation rel, const Publication *publication)
{
	Oid relid = RelationGetRelid(rel);
	Oid shown_as = InvalidOid;

	if (publication->alltables ||
		list_member_oid(GetRelationPublications(relid), publication->oid) ||
		list_member_oid(GetSchemaPublications(RelationGetNamespace(rel)),
						publication->oid))
		shown_as = relid;
	if (rel->rd_rel->relispartition)
	{
		List *ancestors = get_partition_ancestors(relid);
		int level;
		Oid ancestor = publication->alltables
						   ? llast_oid(ancestors)
						   : GetTopMostAncestorInPublication(publication->oid,
															 ancestors, &level);

		if (OidIsValid(ancestor))
			shown_as = publication->pubviaroot ? ancestor : relid;
	}
	return shown_as;
}

/*
 * Does the WAL say which row was updated or deleted?
 */
static bool
check_identity(Relation rel, RouterProblem *problem)
{
	Oid index;

	/* fills in rd_replidindex */
	list_free(RelationGetIndexList(rel));
	index = rel->rd_replidindex;

	if (!OidIsValid(index) && rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL)
		return plinth_router_refuse(
			problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("table \"%s\" has no replica identity",
					 plinth_router_table_name(rel)),
			"Nothing in the WAL would say which row was updated or "
			"deleted.",
			psprintf("Add a primary key, or ALTER TABLE %s REPLICA IDENTITY FULL;",
					 plinth_router_table_name(rel)));
	return true;
}

/*
 * The columns that the role may select; there must be one.
 */
static bool
read_rights(Relation rel, Oid role, RouterRoute *route, RouterProblem *problem)
{
	Oid relid = RelationGetRelid(rel);
	TupleDesc desc = RelationGetDescr(rel);
	Bitmapset *published = route->readable;
	bool all;

	if (plinth_namespace_aclcheck(RelationGetNamespace(rel), role, ACL_USAGE) !=
		ACLCHECK_OK)
		return plinth_router_refuse(
			problem, ERRCODE_INSUFFICIENT_PRIVILEGE,
			psprintf("permission denied for schema %s",
					 get_namespace_name(RelationGetNamespace(rel))),
			NULL, NULL);

	route->published = published;
	route->readable = NULL;
	all = pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped &&
			(published == NULL || bms_is_member(att->attnum, published)) &&
			(all || pg_attribute_aclcheck(relid, att->attnum, role,
										  ACL_SELECT) == ACLCHECK_OK))
			route->readable = bms_add_member(route->readable, att->attnum);
	}
	if (route->readable == NULL)
		return plinth_router_refuse(problem, ERRCODE_INSUFFICIENT_PRIVILEGE,
									psprintf("permission denied for table %s",
											 RelationGetRelationName(rel)),
									NULL, NULL);

	return true;
}

/*
 * Fill in a problem; always false.
 */
bool
plinth_router_refuse(RouterProblem *problem, int sqlerrcode, char *message,
					 char *detail, char *hint)
{
	problem->sqlerrcode = sqlerrcode;
	problem->message = message;
	problem->detail = detail;
	problem->hint = hint;
	return false;
}

/*
 * The quoted name of a table with its schema.
 */
char *
plinth_router_table_name(Relation rel)
{
	return quote_qualified_identifier(
		get_namespace_name(RelationGetNamespace(rel)),
		RelationGetRelationName(rel));
}

/*
 * Does a statement add tables to the publication?
 */
bool
plinth_router_is_publishing(Node *statement)
{
	if (IsA(statement, CreatePublicationStmt))
		return strcmp(((CreatePublicationStmt *) statement)->pubname,
					  PLINTH_PUBLICATION) == 0;
	if (IsA(statement, AlterPublicationStmt))
	{
		AlterPublicationStmt *alter = (AlterPublicationStmt *) statement;

		return strcmp(alter->pubname, PLINTH_PUBLICATION) == 0 &&
			   alter->pubobjects != NIL && alter->action != AP_DropObjects;
	}
	return false;
}

/*
 * Refuse tables without replica identity in the publication; the error
 * undoes the statement that has just added them.
 */
void
plinth_router_check_publication(void)
{
	Publication *publication;
	List *relids;
	ListCell *lc;

	CommandCounterIncrement();
	publication = GetPublicationByName(PLINTH_PUBLICATION, true);
	if (publication == NULL)
		return;
	relids = list_concat_unique_oid(
		GetPublicationRelations(publication->oid, PUBLICATION_PART_LEAF),
		GetAllSchemaPublicationRelations(publication->oid, PUBLICATION_PART_LEAF));
	foreach (lc, relids)
	{
		RouterProblem problem;
		Relation rel = RelationIdGetRelation(lfirst_oid(lc));

		if (!RelationIsValid(rel))
			continue;
		if (!check_identity(rel, &problem))
			ereport(ERROR, (errcode(problem.sqlerrcode),
							errmsg_internal("%s", problem.message),
							errdetail_internal("%s", problem.detail),
							errhint("%s", problem.hint)));
		RelationClose(rel);
	}
}
