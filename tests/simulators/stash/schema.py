"""The simulated part of Stash's GraphQL schema: only real types and fields."""

SCHEMA = """
scalar Time
scalar Timestamp
scalar Map
scalar BoolMap
scalar PluginConfigMap
scalar Any
scalar Int64

type Query {
  findScene(id: ID, checksum: String): Scene
  findScenes(
    scene_filter: SceneFilterType, scene_ids: [Int!], ids: [ID!], filter: FindFilterType
  ): FindScenesResultType!
  findPerformer(id: ID!): Performer
  findPerformers(
    filter: FindFilterType, performer_ids: [Int!], ids: [ID!]
  ): FindPerformersResultType!
  findStudio(id: ID!): Studio
  findStudios(filter: FindFilterType, ids: [ID!]): FindStudiosResultType!
  findTag(id: ID!): Tag
  findTags(
    tag_filter: TagFilterType, filter: FindFilterType, ids: [ID!]
  ): FindTagsResultType!
  findGroup(id: ID!): Group
  findGroups(filter: FindFilterType, ids: [ID!]): FindGroupsResultType!
  plugins: [Plugin!]
  pluginTasks: [PluginTask!]
  configuration: ConfigResult!
  systemStatus: SystemStatus!
  jobQueue: [Job!]
  findJob(input: FindJobInput!): Job
  version: Version!
}

type Mutation {
  sceneCreate(input: SceneCreateInput!): Scene
  sceneUpdate(input: SceneUpdateInput!): Scene
  sceneMerge(input: SceneMergeInput!): Scene
  bulkSceneUpdate(input: BulkSceneUpdateInput!): [Scene!]
  sceneDestroy(input: SceneDestroyInput!): Boolean!
  scenesDestroy(input: ScenesDestroyInput!): Boolean!
  scenesUpdate(input: [SceneUpdateInput!]!): [Scene]
  sceneSaveActivity(id: ID!, resume_time: Float, playDuration: Float): Boolean!
  sceneAddPlay(id: ID!, times: [Timestamp!]): HistoryMutationResult!
  sceneAddO(id: ID!, times: [Timestamp!]): HistoryMutationResult!
  performerCreate(input: PerformerCreateInput!): Performer
  performerUpdate(input: PerformerUpdateInput!): Performer
  performerDestroy(input: PerformerDestroyInput!): Boolean!
  performersDestroy(ids: [ID!]!): Boolean!
  bulkPerformerUpdate(input: BulkPerformerUpdateInput!): [Performer!]
  studioCreate(input: StudioCreateInput!): Studio
  studioUpdate(input: StudioUpdateInput!): Studio
  studioDestroy(input: StudioDestroyInput!): Boolean!
  studiosDestroy(ids: [ID!]!): Boolean!
  tagCreate(input: TagCreateInput!): Tag
  tagUpdate(input: TagUpdateInput!): Tag
  tagDestroy(input: TagDestroyInput!): Boolean!
  tagsDestroy(ids: [ID!]!): Boolean!
  tagsMerge(input: TagsMergeInput!): Tag
  groupCreate(input: GroupCreateInput!): Group
  groupUpdate(input: GroupUpdateInput!): Group
  groupDestroy(input: GroupDestroyInput!): Boolean!
  groupsDestroy(ids: [ID!]!): Boolean!
  configurePlugin(plugin_id: ID!, input: Map!): Map!
  generateAPIKey(input: GenerateAPIKeyInput!): String!
  metadataScan(input: ScanMetadataInput!): ID!
  metadataGenerate(input: GenerateMetadataInput!): ID!
  metadataAutoTag(input: AutoTagMetadataInput!): ID!
  metadataClean(input: CleanMetadataInput!): ID!
  metadataIdentify(input: IdentifyMetadataInput!): ID!
  setPluginsEnabled(enabledMap: BoolMap!): Boolean!
  runPluginTask(
    plugin_id: ID!, task_name: String, description: String, args: [PluginArgInput!], args_map: Map
  ): ID!
  runPluginOperation(plugin_id: ID!, args: Map): Any
  reloadPlugins: Boolean!
  stopJob(job_id: ID!): Boolean!
  stopAllJobs: Boolean!
}

type Scene {
  id: ID!
  title: String
  code: String
  details: String
  director: String
  url: String @deprecated
  urls: [String!]!
  date: String
  rating100: Int
  organized: Boolean!
  o_counter: Int
  interactive: Boolean!
  interactive_speed: Int
  created_at: Time!
  updated_at: Time!
  last_played_at: Time
  resume_time: Float
  play_duration: Float
  play_count: Int
  files: [VideoFile!]!
  paths: ScenePathsType!
  scene_markers: [SceneMarker!]!
  galleries: [Gallery!]!
  studio: Studio
  groups: [SceneGroup!]!
  tags: [Tag!]!
  performers: [Performer!]!
  stash_ids: [StashID!]!
}

type ScenePathsType {
  screenshot: String
  preview: String
  stream: String
  webp: String
  vtt: String
  sprite: String
  funscript: String
  interactive_heatmap: String
  caption: String
}

type VideoFile {
  id: ID!
  path: String!
  basename: String!
  parent_folder_id: ID!
  zip_file_id: ID
  mod_time: Time!
  size: Int64!
  fingerprint(type: String!): String
  fingerprints: [Fingerprint!]!
  format: String!
  width: Int!
  height: Int!
  duration: Float!
  video_codec: String!
  audio_codec: String!
  frame_rate: Float!
  bit_rate: Int!
  created_at: Time!
  updated_at: Time!
}

type Fingerprint { type: String! value: String! }
type SceneGroup { group: Group! scene_index: Int }
type SceneMarker { id: ID! title: String! seconds: Float! }
type Gallery { id: ID! title: String }
type StashID { endpoint: String! stash_id: String! updated_at: Time! }
type HistoryMutationResult { count: Int! history: [Time!]! }

type Performer {
  id: ID!
  name: String!
  disambiguation: String
  url: String @deprecated
  urls: [String!]
  gender: GenderEnum
  birthdate: String
  alias_list: [String!]!
  favorite: Boolean!
  tags: [Tag!]!
  image_path: String
  scene_count: Int!
  stash_ids: [StashID!]!
  rating100: Int
  details: String
  created_at: Time!
  updated_at: Time!
  custom_fields: Map!
}

type Studio {
  id: ID!
  name: String!
  url: String @deprecated
  urls: [String!]!
  parent_studio: Studio
  child_studios: [Studio!]!
  aliases: [String!]!
  tags: [Tag!]!
  image_path: String
  scene_count(depth: Int): Int!
  stash_ids: [StashID!]!
  rating100: Int
  favorite: Boolean!
  details: String
  created_at: Time!
  updated_at: Time!
}

type Tag {
  id: ID!
  name: String!
  sort_name: String
  description: String
  aliases: [String!]!
  favorite: Boolean!
  image_path: String
  scene_count(depth: Int): Int!
  parents: [Tag!]!
  children: [Tag!]!
  parent_count: Int!
  child_count: Int!
  created_at: Time!
  updated_at: Time!
}

type Group {
  id: ID!
  name: String!
  aliases: String
  duration: Int
  date: String
  rating100: Int
  studio: Studio
  director: String
  synopsis: String
  urls: [String!]!
  tags: [Tag!]!
  front_image_path: String
  back_image_path: String
  scene_count(depth: Int): Int!
  created_at: Time!
  updated_at: Time!
}

type FindScenesResultType { count: Int! duration: Float! filesize: Float! scenes: [Scene!]! }
type FindPerformersResultType { count: Int! performers: [Performer!]! }
type FindStudiosResultType { count: Int! studios: [Studio!]! }
type FindTagsResultType { count: Int! tags: [Tag!]! }
type FindGroupsResultType { count: Int! groups: [Group!]! }

type Version { version: String hash: String! build_time: String! }
enum SystemStatusEnum { SETUP NEEDS_MIGRATION OK }
type SystemStatus {
  databaseSchema: Int
  databasePath: String
  configPath: String
  appSchema: Int!
  status: SystemStatusEnum!
  os: String!
  workingDir: String!
  homeDir: String!
}

type ConfigResult {
  general: ConfigGeneralResult!
  ui: Map!
  plugins(include: [ID!]): PluginConfigMap!
}
type StashConfig { path: String! excludeVideo: Boolean! excludeImage: Boolean! }
type ConfigGeneralResult {
  stashes: [StashConfig!]!
  databasePath: String!
  configFilePath: String!
  pluginsPath: String!
  apiKey: String!
  username: String!
  password: String!
  maxSessionAge: Int!
  parallelTasks: Int!
  pythonPath: String!
}

type Plugin {
  id: ID!
  name: String!
  description: String
  url: String
  version: String
  enabled: Boolean!
  tasks: [PluginTask!]
  hooks: [PluginHook!]
  settings: [PluginSetting!]
  requires: [ID!]
  paths: PluginPaths!
}
type PluginPaths { javascript: [String!] css: [String!] }
type PluginTask { name: String! description: String plugin: Plugin! }
type PluginHook { name: String! description: String hooks: [String!] plugin: Plugin! }
enum PluginSettingTypeEnum { STRING NUMBER BOOLEAN }
type PluginSetting {
  name: String!
  display_name: String
  description: String
  type: PluginSettingTypeEnum!
}

enum JobStatus { READY RUNNING FINISHED STOPPING CANCELLED FAILED }
type Job {
  id: ID!
  status: JobStatus!
  subTasks: [String!]
  description: String!
  progress: Float
  startTime: Time
  endTime: Time
  addTime: Time!
  error: String
}
input FindJobInput { id: ID! }
input PluginArgInput { key: String! value: PluginValueInput }
input PluginValueInput {
  str: String
  i: Int
  b: Boolean
  f: Float
  o: [PluginArgInput!]
  a: [PluginValueInput!]
}
input GenerateAPIKeyInput { clear: Boolean }
input ScanMetadataInput { paths: [String!] rescan: Boolean scanGenerateCovers: Boolean }
input GenerateMetadataInput {
  covers: Boolean
  sprites: Boolean
  phashes: Boolean
  sceneIDs: [ID!]
  overwrite: Boolean
}
input AutoTagMetadataInput {
  paths: [String!] performers: [String!] studios: [String!] tags: [String!]
}
input CleanMetadataInput { paths: [String!] dryRun: Boolean! }
input IdentifyMetadataInput { sceneIDs: [ID!] paths: [String!] }

enum SortDirectionEnum { ASC DESC }
input FindFilterType { q: String page: Int per_page: Int sort: String direction: SortDirectionEnum }
enum CriterionModifier {
  EQUALS NOT_EQUALS GREATER_THAN LESS_THAN IS_NULL NOT_NULL INCLUDES_ALL INCLUDES EXCLUDES
  MATCHES_REGEX NOT_MATCHES_REGEX BETWEEN NOT_BETWEEN
}
input StringCriterionInput { value: String! modifier: CriterionModifier! }
input IntCriterionInput { value: Int! value2: Int modifier: CriterionModifier! }
input DateCriterionInput { value: String! value2: String modifier: CriterionModifier! }
input TimestampCriterionInput { value: String! value2: String modifier: CriterionModifier! }
input MultiCriterionInput { value: [ID!] modifier: CriterionModifier! excludes: [ID!] }
input HierarchicalMultiCriterionInput {
  value: [ID!]
  modifier: CriterionModifier!
  depth: Int
  excludes: [ID!]
}
input TagFilterType {
  name: StringCriterionInput
  parent_count: IntCriterionInput
  child_count: IntCriterionInput
}
input SceneFilterType {
  AND: SceneFilterType
  OR: SceneFilterType
  NOT: SceneFilterType
  id: IntCriterionInput
  title: StringCriterionInput
  code: StringCriterionInput
  details: StringCriterionInput
  director: StringCriterionInput
  url: StringCriterionInput
  path: StringCriterionInput
  file_count: IntCriterionInput
  rating100: IntCriterionInput
  organized: Boolean
  o_counter: IntCriterionInput
  play_count: IntCriterionInput
  is_missing: String
  studios: HierarchicalMultiCriterionInput
  groups: HierarchicalMultiCriterionInput
  tags: HierarchicalMultiCriterionInput
  tag_count: IntCriterionInput
  performer_tags: HierarchicalMultiCriterionInput
  performers: MultiCriterionInput
  performer_count: IntCriterionInput
  date: DateCriterionInput
  created_at: TimestampCriterionInput
  updated_at: TimestampCriterionInput
}

enum GenderEnum { MALE FEMALE TRANSGENDER_MALE TRANSGENDER_FEMALE INTERSEX NON_BINARY }
enum CircumisedEnum { CUT UNCUT }
enum BulkUpdateIdMode { SET ADD REMOVE }
input BulkUpdateIds { ids: [ID!] mode: BulkUpdateIdMode! }
input BulkUpdateStrings { values: [String!] mode: BulkUpdateIdMode! }
input StashIDInput { endpoint: String! stash_id: String! updated_at: Time }
input SceneGroupInput { group_id: ID! scene_index: Int }
input SceneMovieInput { movie_id: ID! scene_index: Int }
input CustomFieldsInput { full: Map partial: Map remove: [String!] }

input SceneCreateInput {
  title: String
  code: String
  details: String
  director: String
  url: String @deprecated
  urls: [String!]
  date: String
  rating100: Int
  organized: Boolean
  studio_id: ID
  gallery_ids: [ID!]
  performer_ids: [ID!]
  groups: [SceneGroupInput!]
  movies: [SceneMovieInput!] @deprecated
  tag_ids: [ID!]
  cover_image: String
  stash_ids: [StashIDInput!]
  file_ids: [ID!]
}
input SceneUpdateInput {
  clientMutationId: String
  id: ID!
  title: String
  code: String
  details: String
  director: String
  url: String @deprecated
  urls: [String!]
  date: String
  rating100: Int
  o_counter: Int @deprecated
  organized: Boolean
  studio_id: ID
  gallery_ids: [ID!]
  performer_ids: [ID!]
  groups: [SceneGroupInput!]
  movies: [SceneMovieInput!] @deprecated
  tag_ids: [ID!]
  cover_image: String
  stash_ids: [StashIDInput!]
  resume_time: Float
  play_duration: Float
  play_count: Int @deprecated
  primary_file_id: ID
}
input BulkSceneUpdateInput {
  clientMutationId: String
  ids: [ID!]
  title: String
  code: String
  details: String
  director: String
  url: String @deprecated
  urls: BulkUpdateStrings
  date: String
  rating100: Int
  organized: Boolean
  studio_id: ID
  gallery_ids: BulkUpdateIds
  performer_ids: BulkUpdateIds
  tag_ids: BulkUpdateIds
  group_ids: BulkUpdateIds
  movie_ids: BulkUpdateIds @deprecated
}
input SceneDestroyInput { id: ID! delete_file: Boolean delete_generated: Boolean }
input ScenesDestroyInput { ids: [ID!]! delete_file: Boolean delete_generated: Boolean }
input SceneMergeInput {
  source: [ID!]!
  destination: ID!
  values: SceneUpdateInput
  play_history: Boolean
  o_history: Boolean
}
input PerformerDestroyInput { id: ID! }
input StudioDestroyInput { id: ID! }
input TagDestroyInput { id: ID! }
input TagsMergeInput { source: [ID!]! destination: ID! }
input GroupDestroyInput { id: ID! }
"""

PERFORMER_INPUT = """
  disambiguation: String
  url: String @deprecated
  urls: [String!]
  gender: GenderEnum
  birthdate: String
  ethnicity: String
  country: String
  eye_color: String
  height_cm: Int
  measurements: String
  fake_tits: String
  penis_length: Float
  circumcised: CircumisedEnum
  career_length: String
  tattoos: String
  piercings: String
  alias_list: [String!]
  twitter: String @deprecated
  instagram: String @deprecated
  favorite: Boolean
  tag_ids: [ID!]
  image: String
  stash_ids: [StashIDInput!]
  rating100: Int
  details: String
  death_date: String
  hair_color: String
  weight: Int
  ignore_auto_tag: Boolean
  custom_fields: CustomFieldsInput
"""
BULK_PERFORMER_INPUT = """
  disambiguation: String
  urls: BulkUpdateStrings
  gender: GenderEnum
  birthdate: String
  country: String
  favorite: Boolean
  tag_ids: BulkUpdateIds
  alias_list: BulkUpdateStrings
  rating100: Int
  details: String
"""
STUDIO_INPUT = """
  url: String @deprecated
  urls: [String!]
  parent_id: ID
  image: String
  stash_ids: [StashIDInput!]
  rating100: Int
  favorite: Boolean
  details: String
  aliases: [String!]
  tag_ids: [ID!]
  ignore_auto_tag: Boolean
"""
TAG_INPUT = """
  sort_name: String
  description: String
  aliases: [String!]
  ignore_auto_tag: Boolean
  favorite: Boolean
  image: String
  stash_ids: [StashIDInput!]
  parent_ids: [ID!]
  child_ids: [ID!]
"""
GROUP_INPUT = """
  aliases: String
  duration: Int
  date: String
  rating100: Int
  studio_id: ID
  director: String
  synopsis: String
  urls: [String!]
  tag_ids: [ID!]
  front_image: String
  back_image: String
"""


def sdl() -> str:
    """Return the whole schema; creates and updates of an entity take the same fields."""
    entities = {
        "Performer": PERFORMER_INPUT,
        "Studio": STUDIO_INPUT,
        "Tag": TAG_INPUT,
        "Group": GROUP_INPUT,
    }
    inputs = [
        f"input {kind}CreateInput {{ name: String! {fields} }}\n"
        f"input {kind}UpdateInput {{ id: ID! name: String {fields} }}\n"
        for kind, fields in entities.items()
    ]
    bulk = (
        "input BulkPerformerUpdateInput"
        f" {{ clientMutationId: String ids: [ID!] {BULK_PERFORMER_INPUT} }}"
    )
    return "\n".join([SCHEMA, *inputs, bulk])
