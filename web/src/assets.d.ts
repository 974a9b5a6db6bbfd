declare module "*?worker" {
  const Thread: new (options?: { name?: string }) => Worker;
  export default Thread;
}

/** Where the packed runtime lies, relative to the page; see build/plugins.ts. */
declare module "virtual:runtime" {
  const address: string;
  export default address;
}

declare module "*.css";
